"""The page of a search: one HTML file without anything else."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from nmt.config import TrainConfig
from nmt.evaluation.plots import Series, svg
from nmt.files import replacing
from nmt.rules import read_rule, simplify
from nmt.rules.cells import read_cell
from nmt.search.child import Record
from nmt.search.curves import Curve, bands, read_curve
from nmt.search.drawing import cell_picture, rule_picture
from nmt.search.search import Search
from nmt.search.space import as_text
from nmt.search.table import ranking

PAGE, TRANSFERS = "page.html", "transfers.csv"
SHOWN = 30  # children in the table
BEGIN, END = "<!-- transfers -->", "<!-- end of transfers -->"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; } td, th { border: 1px solid #ccc;
       padding: .25rem .5rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
code { background: #f3f3f3; padding: .1rem .25rem; overflow-wrap: anywhere; }
pre { background: #f3f3f3; padding: .6rem; overflow-x: auto; }
.option { display: inline-block; padding: .1rem .4rem; margin: .1rem; border: 1px solid #ddd;
       border-radius: .3rem; white-space: nowrap; }
"""


def write_page(search: Search, commands: Sequence[str]) -> Path:
    """Write a search's page → its path."""
    own = Curve(
        search.folder.name,
        search.method_config.method,
        search.base.seed,
        search.config.budget.by,
        list(search.records.values()),
    )
    others = [read_curve(Path(folder)) for folder in search.config.compare]
    title = f"Search: {search.config.name}, {search.method_config.method}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(search),
        "<h2>Loss over time</h2>",
        _losses(own),
        *_compared([own, *others]),
        *_winner(search, commands),
        *_preferences(search),
        "<h2>Leaderboard</h2>",
        _leaderboard(search),
        *_refused(search),
        _transfers(search.folder),
    ]
    file = search.folder / PAGE
    with replacing(file) as unfinished:
        unfinished.write_text(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
            + "\n".join(parts)
            + "\n</body></html>\n",
            encoding="utf-8",
        )
    return file


def _summary(search: Search) -> str:
    budget, records = search.config.budget, search.records.values()
    pruned = sum(one.is_pruned for one in records)
    failed = sum(one.loss is None for one in records)
    facts = [
        ("Children", f"{len(records)}, of which {pruned} were pruned and {failed} failed"),
        ("Budget of a child", f"{budget.child:,.0f} {budget.by}"),
        ("Spent", f"{search.spent:,.0f} {budget.by}, the method's own time included"),
        ("Time of the method", f"{search.method_seconds:.1f} seconds"),
        ("Proposals that were known", f"{search.repeats} (equal functions count as one)"),
        ("Proposals that were refused", str(sum(search.refused.values()))),
        ("Points of the space", f"{search.space.size:,}" if search.space.size < 1e9
         else f"{search.space.size:.2g}"),
        ("Corpus", search.base.data.name),
        ("Seed", str(search.base.seed)),
    ]  # fmt: skip
    rows = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in facts)
    return f"<table>{rows}</table>"


def _losses(curve: Curve) -> str:
    ended = [one for one in curve.records if one.loss is not None]
    whole = [one for one in ended if one.is_whole]
    best = curve.best_so_far
    # A few children that diverged would press all others together.
    limit = sorted(one.loss or 0 for one in ended)[int(0.95 * (len(ended) - 1))] if ended else 0
    shown = [one for one in whole if (one.loss or 0) <= limit]
    series = [
        Series("children", [one.at for one in shown], [one.loss or 0 for one in shown], dots=True),
        Series("best so far", [x for x, _ in best], [y for _, y in best]),
    ]
    return svg(series, f"{curve.by} spent", "validation loss")


def _compared(curves: Sequence[Curve]) -> list[str]:
    if len(curves) < 2:
        return []
    series = [
        Series(f"{one.method} ({one.searches})", one.spent, one.middle, one.low, one.high)
        for one in bands(curves)
    ]
    return [
        "<h2>Best so far of each method</h2>",
        "<p>The median of the searches with each method (their number), and their range.</p>",
        svg(series, f"{curves[0].by} spent", "best validation loss"),
    ]


def _winner(search: Search, commands: Sequence[str]) -> list[str]:
    best = search.best
    if best is None:
        return ["<h2>Winner</h2><p>No child has trained to its end.</p>"]
    values = "".join(
        f"<tr><th>{escape(path)}</th><td><code>{escape(as_text(value))}</code></td></tr>"
        for path, value in best.values.items()
    )
    parts = [
        "<h2>Winner</h2>",
        f"<p>Child {best.number}, validation loss {best.loss:.4f}.</p><table>{values}</table>",
        *(f"<pre>{escape(one)}</pre>" for one in commands),
    ]
    picture = _picture(search.config_of(best), best)
    return [*parts, f'<div class="wide">{picture}</div>'] if picture else parts


def _picture(config: TrainConfig, best: Record) -> str:
    """The winner's cell or rule."""
    if "model.cell" in best.values:
        return cell_picture(read_cell(config.model.cell))
    if config.optimizer.rule is not None and "optimizer.rule" in best.values:
        return rule_picture(simplify(read_rule(config.optimizer.rule, config.optimizer.betas)))
    return ""


def _preferences(search: Search) -> list[str]:
    preferences = search.preferences
    if preferences is None:
        return []
    rows = []
    for decision, probabilities in zip(search.space.decisions, preferences, strict=True):
        options = sorted(zip(decision.options, probabilities, strict=True), key=lambda one: -one[1])
        cells = "".join(
            f'<span class="option" style="background: rgba(66, 135, 245, {part:.2f})">'
            f"{escape(option)} {part:.0%}</span>"
            for option, part in options
            if part >= 0.005
        )
        rows.append(f"<tr><th>{escape(decision.name)}</th><td>{cells}</td></tr>")
    what = (
        "Probabilities at the end of the search."
        if search.method_config.method == "reinforce"
        else "Shares of the options among the points that are alive at the end."
    )
    return [
        "<h2>What the method came to prefer</h2>",
        f'<p>{what}</p><div class="wide"><table>{"".join(rows)}</table></div>',
    ]


def _leaderboard(search: Search) -> str:
    paths = list(search.space.dimensions)
    head = ["", "child", "loss", *paths, "ended by", "seconds", "tokens"]
    rows = [
        [
            str(place),
            str(one.number),
            "failed" if one.loss is None else f"{one.loss:.4f}",
            *(as_text(one.values[path]) for path in paths),
            one.error or one.ended_by.removeprefix("training."),
            f"{one.seconds:.1f}",
            f"{one.tokens:,}",
        ]
        for place, one in enumerate(ranking(search)[:SHOWN], 1)
    ]
    return html_table(head, rows)


def _refused(search: Search) -> list[str]:
    if not search.refused:
        return []
    rows = [[why, str(count)] for why, count in sorted(search.refused.items(), key=lambda x: -x[1])]
    return ["<h2>Not trained</h2>", html_table(["why", "proposals"], rows)]


def show_transfers(folder: Path) -> None:
    """Show on a search's page what has been trained with its findings since."""
    file = folder / PAGE
    if not file.exists():
        return
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    text = before + _transfers(folder) + rest.partition(END)[2]
    with replacing(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _transfers(folder: Path) -> str:
    """What has been trained with the findings (`hydra/sweeper=transfer`)."""
    file, parts = folder / TRANSFERS, [BEGIN]
    if file.exists():
        head, *rows = read_csv(file)
        parts += ["<h2>Elsewhere</h2>", "<p>Whole runs with what was found.</p>"]
        parts.append(html_table(head, rows))
    return "\n".join([*parts, END])


def read_csv(file: Path) -> list[list[str]]:
    """All rows of a file, with its head; none if there is no file."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened))


def html_table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped."""
    top = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td{_class(one)}>{escape(one)}</td>" for one in row) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _class(text: str) -> str:
    plain = text.replace(",", "").replace(".", "").replace("±", "").replace(" ", "")
    return ' class="number"' if plain.lstrip("-").isdigit() else ""
