"""Plots. The only file that imports matplotlib, which the extra `report` installs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nmt.errors import ConfigurationError


class Bar(NamedTuple):
    """A span of time in a row of a Gantt chart."""

    row: int
    kind: str  # selects the colour
    start: float  # seconds
    end: float  # seconds


class Line(NamedTuple):
    """A labelled step function: the best value so far over the number of evaluations."""

    label: str
    points: list[tuple[float, float]]


def require_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            ["A plot needs matplotlib, which is not installed; install `pipeline-nmt[report]`."]
        ) from None


def gantt(
    file: Path,
    bars: Sequence[Bar],
    rows: Sequence[str],
    colours: Mapping[str, str],
    title: str,
) -> None:
    """Draw a Gantt chart as PNG, with a row for each device and a colour for each kind of work."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    first = min(bar.start for bar in bars)
    figure = Figure(figsize=(14, 1.6 + 0.55 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("#eeeeee")
    for kind, colour in colours.items():
        for row in range(len(rows)):
            spans = [
                (1e3 * (bar.start - first), 1e3 * (bar.end - bar.start))
                for bar in bars
                if bar.kind == kind and bar.row == row
            ]
            axes.broken_barh(
                spans, (row - 0.4, 0.8), facecolors=colour, edgecolor="white", linewidth=0.3
            )
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.set_title(title)
    patches = [Patch(color=colour, label=kind) for kind, colour in colours.items()]
    patches.append(Patch(facecolor="#eeeeee", edgecolor="#cccccc", label="idle"))
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=120)


def lines(file: Path, curves: Sequence[Line], x: str, y: str, title: str) -> None:
    """Draw step functions as PNG, with a logarithmic x axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        xs, ys = zip(*curve.points, strict=True)
        axes.step(xs, ys, where="post", label=curve.label, marker="o" if len(xs) < 3 else None)
    axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


class Series(NamedTuple):
    """A line with a band around it, and single points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()  # of the band; empty: there is none
    high: Sequence[float] = ()
    dots: bool = False  # points alone


def svg(series: Sequence[Series], x: str, y: str) -> str:
    """Lines, bands and points as SVG, for a page."""
    from io import StringIO

    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for number, one in enumerate(series):
        colour = f"C{number}"
        if one.dots:
            axes.plot(one.x, one.y, ".", color="#999999", label=one.label, markersize=5)
            continue
        axes.step(one.x, one.y, where="post", color=colour, label=one.label)
        if one.low:
            axes.fill_between(one.x, one.low, one.high, step="post", color=colour, alpha=0.15)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend()
    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nmt"}):  # text stays text
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)
    return text[text.index("<svg") :]
