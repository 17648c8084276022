"""Sweeps (`nmt-train -m …`): a folder for each job, and a table of all jobs at the end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nmt.markdown import markdown_table
from nmt.run.result import RunResult

LONGEST_NAME = 120  # longest name of a job's folder, in characters


class Outcome(NamedTuple):
    """The outcome of one job of a sweep: a result or an error."""

    swept: Sequence[str]  # the job's own overrides, such as optimizer.learning_rate=0.001
    result: RunResult | None
    error: Exception | None


def job_values(values: Mapping[str, Any], swept: Sequence[str]) -> dict[str, Any]:
    """The settings of a job, with a folder of its own inside the sweep's folder. It is named after
    the job's own overrides, so that a sweep that is started again resumes its jobs. Overrides of
    `name` and `runs` are part of its folder as it is."""
    own = [override for override in swept if not override.startswith(("name=", "runs="))]
    return {**values, "name": f"{values['name']}/{folder_name(own)}"} if own else dict(values)


def folder_name(swept: Sequence[str]) -> str:
    """A folder's name made of overrides."""
    text = re.sub(r"[^\w.=,+-]", "-", ",".join(swept))
    if len(text) <= LONGEST_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: LONGEST_NAME - 9]}-{digest}"


def table(outcomes: Sequence[Outcome]) -> str:
    """All jobs of a sweep as a Markdown table."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    metrics = dict.fromkeys(result.best_by for result in results)
    head = ["job", "overrides", f"best {', '.join(metrics) or 'score'}", "step", "minutes", "run"]
    rows = [
        [str(number), " ".join(outcome.swept), *_cells(outcome)]
        for number, outcome in enumerate(outcomes)
    ]
    return markdown_table(head, rows)


def _cells(outcome: Outcome) -> list[str]:
    result = outcome.result
    if result is None:
        return ["failed", "", "", str(outcome.error).partition("\n")[0]]
    score = "" if result.best_score is None else f"{result.best_score:.4g}"
    return [score, str(result.best_step), f"{result.seconds / 60:.1f}", result.folder]
