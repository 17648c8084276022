"""The picture of the README: one training step of a real run, drawn from its trace.json.

    nmt-train parallel=wavefront parallel.trace=true data.batch.tokens=4000 \\
        training.max_steps=12 name=trace
    python docs/timeline.py runs/trace/trace.json docs/timeline.svg ROLE ROLE

Each bar is one layer's task. The tasks of a micro-batch have one colour: light forward, dark
backward. A ROLE says what a device has, such as "embedding and encoder".
"""

from __future__ import annotations

import html
import json
import sys
from dataclasses import dataclass
from pathlib import Path

LEFT, WIDTH, TOP, ROW, GAP = 76, 860, 32, 52, 30
COLOURS = (  # light for forward, dark for backward, one pair for each micro-batch
    ("#9ecbf2", "#2c72b5"),
    ("#fbc58c", "#c96a12"),
    ("#a9dba4", "#3b8a3a"),
    ("#d3b8ea", "#7b4fa8"),
)
INK, GREY, WAITING = "#24292f", "#57606a", "#eceff2"


@dataclass(frozen=True)
class Bar:
    """One task, in milliseconds from the beginning of the step."""

    device: int
    kind: str  # forward, backward, communication or update
    name: str
    start: float
    end: float

    @property
    def micro_batch(self) -> int:
        """Its number, from 0: names are such as `backward encoder.1 3 0`."""
        return int(self.name.split()[-2])


def read_step(file: Path) -> list[Bar]:
    """The last of the steps in a trace: what follows each device's first optimizer update."""
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    first_update_ends: dict[int, float] = {}
    for event in sorted(events, key=lambda one: one["ts"]):
        if event["cat"] == "update":
            first_update_ends.setdefault(event["pid"], event["ts"] + event["dur"])
    begin = max(first_update_ends.values())
    later = [event for event in events if event["ts"] >= begin - 1]
    zero = min(event["ts"] for event in later)
    return [
        Bar(
            e["pid"], e["cat"], e["name"], (e["ts"] - zero) / 1e3, (e["ts"] + e["dur"] - zero) / 1e3
        )
        for e in later
    ]


def draw(bars: list[Bar], roles: list[str]) -> str:
    """The SVG; `roles` say what each device has."""
    length = max(bar.end for bar in bars)
    scale = WIDTH / length
    height = TOP + len(roles) * (ROW + GAP) + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 84} {height}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}">',
        "<title>One training step on two devices, as it was measured</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for device, role in enumerate(roles):
        y = TOP + device * (ROW + GAP)
        own = [bar for bar in bars if bar.device == device]
        busy = sum(bar.end - bar.start for bar in own if bar.kind != "communication")
        parts += [
            f'<text x="{LEFT}" y="{y - 8}" fill="{GREY}">{html.escape(role)}</text>',
            f'<text x="8" y="{y + ROW / 2 + 5:.0f}">device {device}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{ROW}" fill="{WAITING}"/>',
            f'<text x="{LEFT + WIDTH + 8}" y="{y + ROW / 2 + 5:.0f}">'
            f"{busy / length:.0%} busy</text>",
            *draw_row(own, scale, y),
        ]
    parts += draw_axis(length, scale, TOP + len(roles) * (ROW + GAP) - GAP)
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_row(bars: list[Bar], scale: float, y: float) -> list[str]:
    """A device's tasks, and a label over each run of tasks of one micro-batch and direction."""
    parts, runs = [], list[tuple[str, float, float]]()
    for bar in bars:
        x, width = LEFT + scale * bar.start, scale * (bar.end - bar.start)
        if bar.kind == "communication":
            continue
        if bar.kind == "update":
            fill, label = GREY, "update"
        else:
            number = bar.micro_batch
            fill = COLOURS[number % len(COLOURS)][bar.kind == "backward"]
            label = f"{'B' if bar.kind == 'backward' else 'F'}{number + 1}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.3):.1f}" height="{ROW}" fill="{fill}" '
            f'stroke="#ffffff" stroke-width="0.6"><title>{html.escape(bar.name)}, '
            f"{bar.end - bar.start:.1f} ms</title></rect>"
        )
        if runs and runs[-1][0] == label:
            runs[-1] = (label, runs[-1][1], bar.end)
        else:
            runs.append((label, bar.start, bar.end))
    for label, start, end in runs:
        if scale * (end - start) > 18 and label != "update":
            colour = "#ffffff" if label.startswith("B") else INK
            parts.append(
                f'<text x="{LEFT + scale * (start + end) / 2:.1f}" y="{y + ROW / 2 + 5:.0f}" '
                f'text-anchor="middle" font-weight="bold" fill="{colour}" '
                f'pointer-events="none">{label}</text>'
            )
    return parts


def draw_axis(length: float, scale: float, y: float) -> list[str]:
    """Milliseconds, and what the colours mean."""
    parts = []
    for tick in range(0, int(length) + 1, 100):
        x = LEFT + scale * tick
        parts.append(f'<path d="M{x:.1f} {y}v5" stroke="{GREY}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{y + 19}" text-anchor="middle" font-size="11" fill="{GREY}">'
            f"{tick}{' ms' if not tick else ''}</text>"
        )
    x, y = LEFT, y + 34
    legend = [
        (COLOURS[0][0], "F1: forward pass of micro-batch 1"),
        (COLOURS[0][1], "B1: its backward pass"),
        (GREY, "optimizer update"),
        (WAITING, "waiting"),
    ]
    for colour, text in legend:
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 12}" fill="{GREY}">{text}</text>')
        x += 44 + round(6.7 * len(text))
    return parts


if __name__ == "__main__":
    trace, output, *roles = sys.argv[1:]
    Path(output).write_text(draw(read_step(Path(trace)), roles), encoding="utf-8")
