"""Sweeps (`nmt-train -m …`): a folder for each job, and one table at the end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nmt.run.result import RunResult

LONGEST_NAME = 120  # characters of a job's folder


class Outcome(NamedTuple):
    """One job of a sweep."""

    swept: Sequence[str]  # its overrides, such as optimizer.learning_rate=0.001
    result: RunResult | None
    error: Exception | None


def job_values(values: Mapping[str, Any], swept: Sequence[str]) -> dict[str, Any]:
    """The settings of a job, with a folder of its own inside the sweep's: a name made from the
    overrides that set the job apart, so that a sweep that is started again finds its jobs. A sweep
    over `name` keeps the names that it gives."""
    if not swept or any(override.startswith(("name=", "runs=")) for override in swept):
        return dict(values)
    return {**values, "name": f"{values['name']}/{folder_name(swept)}"}


def folder_name(swept: Sequence[str]) -> str:
    """Overrides as a folder's name."""
    text = re.sub(r"[^\w.=,+-]", "-", ",".join(swept))
    if len(text) <= LONGEST_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: LONGEST_NAME - 9]}-{digest}"


def table(outcomes: Sequence[Outcome]) -> str:
    """All jobs of a sweep as a Markdown table."""
    metrics = dict.fromkeys(one.result.best_by for one in outcomes if one.result is not None)
    head = ["job", "overrides", f"best {', '.join(metrics) or 'score'}", "step", "minutes", "run"]
    rows = [[str(number), " ".join(one.swept), *_cells(one)] for number, one in enumerate(outcomes)]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def _cells(outcome: Outcome) -> list[str]:
    result = outcome.result
    if result is None:
        return ["failed", "", "", str(outcome.error).partition("\n")[0]]
    score = "" if result.best_score is None else f"{result.best_score:.4g}"
    return [score, str(result.best_step), f"{result.seconds / 60:.1f}", result.folder]
