"""What a search leaves in its folder: leaderboard.csv, the winner's files, and a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nmt.files import replacing
from nmt.search.child import Record
from nmt.search.page import write_page
from nmt.search.search import Search
from nmt.search.space import as_text
from nmt.search.table import ranking

LEADERBOARD, WINNER, FOUND = "leaderboard.csv", "winner", "found"
GROUPS = ("model", "optimizer", "schedule")  # of conf, of which a winner may have a file


def write_reports(search: Search) -> str:
    """Write everything → a sentence that says where."""
    write_leaderboard(search)
    best = search.best
    commands = [] if best is None else write_winner(search, best)
    page = write_page(search, commands)
    lines = [f"Leaderboard: {search.folder / LEADERBOARD}", f"Page: {page}"]
    if not commands:
        return "\n".join([*lines, "No child has trained to its end."])
    return "\n".join([*lines, "The winner, to train with:", *(f"  {one}" for one in commands)])


def write_leaderboard(search: Search) -> None:
    """One line for each child, the best first."""
    paths = list(search.space.dimensions)
    head = ["place", "child", "loss", "reward", *paths, "ended_by", "error", "start"]
    head += ["seconds", "tokens", "steps", "folder"]
    with (
        replacing(search.folder / LEADERBOARD) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(head)
        for place, one in enumerate(ranking(search), 1):
            writer.writerow(
                [
                    place,
                    one.number,
                    "" if one.loss is None else f"{one.loss:.6f}",
                    f"{one.reward(search.worst):.6f}",
                    *(as_text(one.values[path]) for path in paths),
                    one.ended_by,
                    one.error or "",
                    one.start,
                    f"{one.seconds:.2f}",
                    one.tokens,
                    one.steps,
                    search.folder / f"{one.number:04d}",
                ]
            )


def write_winner(search: Search, best: Record) -> list[str]:
    """A file for each group of settings that was searched → the commands that train with them."""
    config = search.config_of(best)
    folder = search.folder / WINNER
    chosen, others = [], []
    for path in search.space.dimensions:
        group = path.split(".")[0]
        if group not in GROUPS:
            others.append(search.space.override(path, best.values))
        elif group not in chosen:
            chosen.append(group)
    for group in chosen:
        values = getattr(config, group).model_dump(mode="json")
        if group == "model":
            values["name"] = FOUND
        _write(folder / group / f"{FOUND}.yaml", values, _comment(search, best))
    selected = [f"{group}={FOUND}" for group in chosen]
    settings = " ".join([*selected, *others])
    where = f"--config-dir {folder} " if chosen else ""
    return [f"nmt-train {where}{settings} data={config.data.name}"]


def _comment(search: Search, best: Record) -> str:
    return (
        f"# Found by {search.method_config.method} in {len(search.records)} children: child "
        f"{best.number}, loss {best.loss:.4f}."
    )


def _write(file: Path, values: Mapping[str, Any], comment: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)
    with replacing(file) as unfinished:
        unfinished.write_text(f"{comment}\n{text}", encoding="utf-8")
