import json
import math
from pathlib import Path

import pytest

from nmt.config import DecodeConfig, Direction
from nmt.errors import ConfigurationError
from nmt.evaluation.bleu import Score, SentenceScore
from nmt.evaluation.report import Report, Segment, TranslationRun, score_table, write_report

DECODE = DecodeConfig(
    beam_size=4,
    length_penalty=0.6,
    coverage_penalty=0.2,
    n_best=1,
    max_source_tokens=None,
    max_length_ratio=2.0,
    max_length_offset=10,
    no_repeat_ngram=0,
    max_repeats=1,
    batch_sentences=8,
    shortlist=True,
)
SCORES = {
    "bleu": Score(30.125, (28.5, 31.75), "nrefs:1|case:mixed|version:2.6.0"),
    "ter": Score(50.0, None, "nrefs:1|case:lc|version:2.6.0"),
}


def segment(chrf: float, text: str = "text", model_score: float | None = -0.5) -> Segment:
    return Segment(
        f"source {text}", text, f"{text} {chrf}", SentenceScore(1, chrf), model_score, False
    )


def report(segments: list[Segment]) -> Report:
    translating = TranslationRun(
        model={"folder": "runs/x/best", "languages": "en → de"},
        direction=Direction(source="en", target="de"),
        decode=DECODE,
        seconds=0.5,
        source_tokens=30,
        tokens=40,
        truncated=1,
        in_parts=2,
    )
    return Report("tiny", {"source": "a.en", "reference": "a.de"}, SCORES, segments, translating)


def test_report_json_has_everything_in_plain_values(tmp_path: Path) -> None:
    write_report(tmp_path, report([segment(10), segment(20)]))
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert values["name"] == "tiny"
    assert values["sentences"] == 2
    assert values["files"] == {"source": "a.en", "reference": "a.de"}
    assert values["scores"]["bleu"] == {
        "score": 30.125,
        "interval": [28.5, 31.75],
        "signature": "nrefs:1|case:mixed|version:2.6.0",
        "parts": None,
    }
    assert values["scores"]["ter"]["interval"] is None
    translating = values["translating"]
    assert translating["model"]["folder"] == "runs/x/best"
    assert translating["decode"]["beam_size"] == 4
    assert translating["sentences_per_second"] == 4
    assert translating["tokens_per_second"] == 80
    assert (translating["tokens"], translating["source_tokens"]) == (40, 30)
    assert translating["truncated"] == 1
    assert translating["translated in parts"] == 2


def test_segments_are_one_json_a_line(tmp_path: Path) -> None:
    segments = [
        segment(10, "a\u2028b|"),
        segment(20, model_score=-math.inf),
        segment(3, model_score=None),
    ]
    write_report(tmp_path, report(segments))
    lines = (tmp_path / "segments.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    values = [json.loads(line) for line in lines]
    assert [value["index"] for value in values] == [1, 2, 3]
    assert values[0] == {
        "index": 1,
        "source": "source a\u2028b|",
        "reference": "a\u2028b|",
        "hypothesis": "a\u2028b| 10",
        "bleu": 1,
        "chrf": 10,
        "model_score": -0.5,
        "truncated": False,
    }
    assert [value["model_score"] for value in values] == [-0.5, None, None]


def test_report_md_is_readable_and_safe(tmp_path: Path) -> None:
    write_report(tmp_path, report([segment(10, "a | *b* <c>"), *map(segment, range(20, 33))]))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Evaluation: tiny\n\n| metric | score | 95% interval  |\n| ------")
    assert "| BLEU   | 30.12 | 28.50 – 31.75 |" in text
    assert "- BLEU: `nrefs:1|case:mixed|version:2.6.0`" in text
    assert "- languages: `en → de`" in text
    assert "- sentences per second: `28.00`" in text
    assert "- truncated: `1`" in text
    assert "- translated in parts: `2`" in text
    assert "- beam_size: `4`" in text
    worst, best = text.split("## Worst segments")[1].split("## Best segments")
    assert r"a \| \*b\* \<c>" in worst
    assert [line.split("|")[1].strip() for line in worst.splitlines()[4:9]] == [
        "1",
        "2",
        "3",
        "4",
        "5",
    ]
    assert [line.split("|")[1].strip() for line in best.splitlines()[4:9]] == [
        "14",
        "13",
        "12",
        "11",
        "10",
    ]


def test_few_segments_are_shown_once(tmp_path: Path) -> None:
    write_report(tmp_path, report([segment(30), segment(10)]))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Worst" in text
    assert "## Best" not in text


def test_a_scored_file_has_no_model(tmp_path: Path) -> None:
    only = Segment(None, "a", "b", SentenceScore(0, 0), None, None)
    write_report(tmp_path, Report("files", {"reference": "r"}, SCORES, [only], None))
    assert json.loads((tmp_path / "report.json").read_text())["translating"] is None
    assert "## Model" not in (tmp_path / "report.md").read_text()


def test_an_old_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    for chrf in (10, 20):
        write_report(folder, report([segment(chrf)]))
    assert {path.name for path in folder.iterdir()} == {
        "report.json",
        "report.md",
        "segments.jsonl",
    }
    assert json.loads((folder / "segments.jsonl").read_text())["chrf"] == 20


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigurationError, match=r"`output` must be a folder .* `.*taken` gives"):
        write_report(tmp_path / "taken", report([segment(10)]))


def test_score_table_is_aligned() -> None:
    lines = score_table(SCORES).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
