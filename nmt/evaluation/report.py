"""The report of an evaluation: report.json for programs, report.md for readers, and segments.jsonl
with every sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nmt.config import DecodeConfig, Direction
from nmt.errors import ConfigurationError
from nmt.evaluation.bleu import LABELS, Scores, SentenceScore
from nmt.files import replacing
from nmt.markdown import markdown_table

EXAMPLES = 5  # segments shown in each table of examples


@dataclass(frozen=True)
class Segment:
    """A line of the test set. `model_score` and `truncated` are None if a file of translations was
    scored."""

    source: str | None
    reference: str
    hypothesis: str
    sentence: SentenceScore
    model_score: float | None
    truncated: bool | None


@dataclass(frozen=True)
class TranslationRun:
    """The model that made the hypotheses, its settings and its speed."""

    model: Mapping[str, str]  # facts: folder, direction, architecture, precision and so on
    direction: Direction
    decode: DecodeConfig
    seconds: float  # time of translation, without loading the model
    source_tokens: int
    tokens: int  # tokens of the hypotheses
    truncated: int  # number of sentences cut off at the length limit
    in_parts: int  # number of sentences that were too long for the model


@dataclass(frozen=True)
class Report:
    """An evaluation, from which the three files are written."""

    name: str  # of the test set
    files: Mapping[str, str]  # source, reference, hypothesis → path
    scores: Scores
    segments: Sequence[Segment]
    translating: TranslationRun | None  # None if a file of translations was scored


def make_folder(folder: Path) -> None:
    """Create the folder of a report. Called before translating, so that a wrong path fails early.

    Raises:
        ConfigurationError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(folder, error) from None


def write_report(folder: Path, report: Report) -> None:
    """Write report.json, report.md and segments.jsonl, replacing each atomically.

    Raises:
        ConfigurationError: the folder cannot be written to.
    """
    make_folder(folder)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    lines = (_json(_segment(number, segment)) for number, segment in enumerate(report.segments, 1))
    try:
        _write(folder / "segments.jsonl", "".join(f"{line}\n" for line in lines))
        _write(folder / "report.md", markdown(report, created))
        _write(folder / "report.json", _json(as_json(report, created), indent=2) + "\n")
    except OSError as error:
        raise _no_folder(folder, error) from None


def score_table(scores: Scores) -> str:
    """The scores as a Markdown table, followed by the parts of BLEU and the signatures."""
    rows = [
        (
            LABELS[name],
            f"{score.score:.2f}",
            "" if score.interval is None else "{:.2f} – {:.2f}".format(*score.interval),
        )
        for name, score in scores.items()
    ]
    parts = [
        (f"{LABELS[name]}, parts", str(score.parts))
        for name, score in scores.items()
        if score.parts
    ]
    signatures = [(LABELS[name], score.signature) for name, score in scores.items()]
    return (
        _table(("metric", "score", "95% interval"), rows) + "\n\n" + _facts([*parts, *signatures])
    )


def as_json(report: Report, created: str) -> dict[str, Any]:
    """The content of report.json as plain values."""
    return {
        "name": report.name,
        "created": created,
        "sentences": len(report.segments),
        "files": dict(report.files),
        "scores": {name: asdict(score) for name, score in report.scores.items()},
        "translating": None
        if report.translating is None
        else {
            "model": dict(report.translating.model),
            "decode": report.translating.decode.model_dump(mode="json"),
            **_figures(report.translating, len(report.segments)),
        },
    }


def markdown(report: Report, created: str) -> str:
    """The content of report.md."""
    facts = [("sentences", str(len(report.segments))), *report.files.items(), ("written", created)]
    parts = [f"# Evaluation: {_text(report.name)}", score_table(report.scores), _facts(facts)]
    if report.translating is not None:
        figures = _figures(report.translating, len(report.segments))
        decode = report.translating.decode.model_dump(mode="json")
        parts += [
            "## Model",
            _facts(report.translating.model.items()),
            "## Translating",
            _facts((key.replace("_", " "), _number(value)) for key, value in figures.items()),
            "## Decoding",
            _facts((key, _number(value)) for key, value in decode.items()),
        ]
    # Ranked by chrF, since the BLEU of a good translation of one sentence is often 0.
    ranked = sorted(enumerate(report.segments, 1), key=lambda item: item[1].sentence.chrf)
    for title, items in (
        ("Worst", ranked[:EXAMPLES]),
        ("Best", ranked[EXAMPLES:][: -EXAMPLES - 1 : -1]),
    ):
        if items:
            parts += [f"## {title} segments by chrF", _examples(items)]
    return "\n\n".join(parts) + "\n"


def _figures(translating: TranslationRun, sentences: int) -> dict[str, float | int]:
    return {
        "seconds": translating.seconds,
        "sentences_per_second": sentences / translating.seconds,
        "tokens_per_second": translating.tokens / translating.seconds,
        "source_tokens": translating.source_tokens,
        "tokens": translating.tokens,
        "truncated": translating.truncated,
        "translated in parts": translating.in_parts,
    }


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    score = segment.model_score
    return {
        "index": number,
        "source": segment.source,
        "reference": segment.reference,
        "hypothesis": segment.hypothesis,
        "bleu": segment.sentence.bleu,
        "chrf": segment.sentence.chrf,
        # JSON has no infinity, which is the score of a hypothesis with probability 0.
        "model_score": None if score is None or not math.isfinite(score) else float(score),
        "truncated": segment.truncated,
    }


def _examples(items: Sequence[tuple[int, Segment]]) -> str:
    rows = [
        (
            str(number),
            f"{segment.sentence.chrf:.1f}",
            f"{segment.sentence.bleu:.1f}",
            segment.source or "",
            segment.reference,
            segment.hypothesis,
        )
        for number, segment in items
    ]
    return _table(("line", "chrF", "BLEU", "source", "reference", "hypothesis"), rows)


def _facts(items: Iterable[tuple[str, str]]) -> str:
    plain = ((key, value.replace("`", "'")) for key, value in items)
    return "\n".join(f"- {key}: `{value}`" for key, value in plain)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(head, [[_text(cell) for cell in row] for row in rows])


def _text(value: str) -> str:
    """A text as one line of Markdown, with special characters escaped."""
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", " ".join(value.split()))


def _number(value: float | int) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def _write(path: Path, content: str) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(content, encoding="utf-8", newline="\n")


def _no_folder(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        [
            f"`output` must be a folder that can be written to, but `{folder}` gives "
            f"“{error.strerror}” instead; correct the path or its permissions."
        ]
    )
