"""nmt-evaluate: a model or a file, on a corpus or on files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.evaluate import main

Evaluate = Callable[..., str]
SOURCE = ["A man is sleeping.", "Two dogs run.", "", "The woman reads a book."]
REFERENCE = ["Ein Mann schläft.", "Zwei Hunde rennen.", "Nichts", "Die Frau liest ein Buch."]


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Evaluate:
    """The command, in an empty folder with test files. Gives what it prints on stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    write(tmp_path / "test.en", SOURCE)
    write(tmp_path / "test.de", REFERENCE)

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["nmt-evaluate", *arguments])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def mistake(evaluate: Evaluate, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command that must fail. Gives its error."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            evaluate(*arguments)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    return run


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the sample corpus."""
    folder = tmp_path / "sample"
    folder.mkdir()
    monkeypatch.setattr("nmt.command.sample_folder", lambda: folder)
    return folder


def write(path: Path, lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def report(folder: str) -> Any:
    return json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))


def test_a_file_of_translations(evaluate: Evaluate, tmp_path: Path) -> None:
    write(tmp_path / "mine.de.gz", REFERENCE)
    printed = evaluate("hypothesis=mine.de.gz", "reference=test.de")
    assert printed.startswith("test.de: 4 sentences\n\n| metric")
    assert "| BLEU              | 100.00 | 100.00 – 100.00 |" in printed
    assert "Report: runs/evaluation/test.de/report.md" in printed
    values = report("runs/evaluation/test.de")
    assert values["files"] == {"reference": "test.de", "hypothesis": "mine.de.gz"}
    assert values["translating"] is None
    assert values["scores"]["bleu"]["signature"].startswith("nrefs:1|bs:1000|seed:12345|case:mixed")


def test_a_model_on_files(evaluate: Evaluate, tiny_model_folder: Path) -> None:
    printed = evaluate(
        f"translator.folder={tiny_model_folder}",
        "source=test.en",
        "reference=test.de",
        "decode=greedy",
        "translator.device=cpu",
        "bootstrap=0",
        "name=own",
        "output=report",
    )
    assert printed.startswith("own: 4 sentences\n")
    assert "sentences per second" in printed
    values = report("report")
    assert values["files"] == {"source": "test.en", "reference": "test.de"}
    assert values["scores"]["chrf"]["interval"] is None
    translating = values["translating"]
    assert translating["decode"]["beam_size"] == 1
    assert translating["model"]["folder"] == str(tiny_model_folder)
    assert translating["model"]["direction"] == "en-de"
    used = (translating["model"][name] for name in ("device", "threads", "translated in"))
    assert tuple(used) == ("cpu", str(torch.get_num_threads()), "fp32")
    assert values["scores"]["bleu"]["parts"].keys() >= {"brevity_penalty", "length_ratio"}
    assert translating["source_tokens"] > 0
    lines = Path("report/segments.jsonl").read_text(encoding="utf-8").strip().split("\n")
    segments = [json.loads(line) for line in lines]
    assert [segment["source"] for segment in segments] == SOURCE
    assert [segment["reference"] for segment in segments] == REFERENCE
    assert segments[2]["hypothesis"] == ""
    assert all(isinstance(segment["model_score"], float) for segment in segments)
    assert translating["translated in parts"] == 0
    assert translating["truncated"] == sum(segment["truncated"] for segment in segments)


def test_files_in_another_direction_than_the_model_s(
    mistake: Evaluate, tiny_model_folder: Path
) -> None:
    files = (f"translator.folder={tiny_model_folder}", "source=test.de", "reference=test.en")
    assert "must be one of the model's directions (en→de), but are 'de' and 'en'" in mistake(
        *files, "direction=de-en"
    )


def test_a_model_on_a_split_of_a_corpus(
    evaluate: Evaluate, mistake: Evaluate, tiny_model_folder: Path, sample: Path
) -> None:
    for split, count in (("valid", 1), ("test", 2)):
        write(sample / f"{split}.en", SOURCE[:count])
        write(sample / f"{split}.de", REFERENCE[:count])
    model = f"translator.folder={tiny_model_folder}"

    for split, count in (("valid", 1), ("test", 2)):
        printed = evaluate(model, "data=sample", f"split={split}", "bootstrap=5")
        assert printed.startswith(f"sample.{split}: {count} sentences\n")
        values = report(f"runs/evaluation/sample.{split}")
        assert values["files"]["source"] == str(sample / f"{split}.en")

    assert "`split` must be one of valid, test with `data=sample`, but is 'train'" in mistake(
        model, "data=sample", "split=train"
    )
    assert "must be in a direction of the model (en→de), but `test` is de→en instead" in mistake(
        model, "data=sample", "split=test", "data.direction=de-en"
    )


def test_a_file_against_a_split(evaluate: Evaluate, sample: Path) -> None:
    write(sample / "test.en", SOURCE)
    write(sample / "test.de", REFERENCE)
    evaluate("translator=null", "hypothesis=test.de", "data=sample", "split=test", "bootstrap=0")
    values = report("runs/evaluation/sample.test")
    assert values["scores"]["bleu"]["score"] == pytest.approx(100)
    assert values["files"].keys() == {"source", "reference", "hypothesis"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["translator=null", "reference=test.de"],
            "either `translator.folder` or `hypothesis` must be set, but both are null; name a "
            "model folder, such as `translator.folder=runs/demo/best`, or a file.",
        ),
        (
            ["translator.folder=m", "hypothesis=test.de", "reference=test.de"],
            "only one of `translator.folder` and `hypothesis` may be set, but both are; remove one "
            "of the two.",
        ),
        (
            ["translator.folder=m"],
            "`source` and `reference` must be set without `data`; name files, or a corpus such as "
            "`data=sample split=test`.",
        ),
        (
            ["translator.folder=m", "source=test.en", "reference=test.de", "split=test"],
            "`split` must be null without `data`, but is 'test' instead; "
            "name a corpus, such as `data=sample`.",
        ),
        (
            ["translator.folder=m", "data=sample", "split=test", "reference=test.de"],
            "`source` and `reference` must be null with `data`, which names the files itself; "
            "remove either `data` or the files.",
        ),
        (
            ["translator.folder=m", "data=sample"],
            "`split` must be one of valid, test with `data=sample`, but is None instead.",
        ),
        (
            ["translator.folder=m", "data=sample", "split=test", "direction=en-de"],
            "`direction` must be null without a model, or with `data`, whose corpora have "
            "directions of their own, but is en-de instead.",
        ),
        (
            ["translator=null", "hypothesis=test.de", "reference=test.de", "direction=en-de"],
            "`direction` must be null without a model, or with `data`, whose corpora have "
            "directions of their own, but is en-de instead.",
        ),
        (
            ["translator.folder=nowhere", "source=test.en", "reference=test.de"],
            "`nowhere` must be a model folder, but there is no such folder.",
        ),
        (
            ["translator=null", "hypothesis=nothing.de", "reference=test.de"],
            "`nothing.de` must be a file, but does not exist in `",
        ),
    ],
)
def test_mistakes(mistake: Evaluate, arguments: list[str], sentence: str) -> None:
    assert sentence in mistake(*arguments)
    assert not list(Path("runs").glob("**/report.*"))


def test_different_numbers_of_lines(
    mistake: Evaluate, tmp_path: Path, tiny_model_folder: Path
) -> None:
    write(tmp_path / "short.de", REFERENCE[:3])
    assert "as many lines as the references (4), but have 3 instead" in mistake(
        "translator=null", "hypothesis=short.de", "reference=test.de"
    )
    error = mistake(
        f"translator.folder={tiny_model_folder}", "source=test.en", "reference=short.de"
    )
    assert "`test.en` has 4 lines and `short.de` has 3 instead" in error


def test_empty_files(mistake: Evaluate, tmp_path: Path) -> None:
    write(tmp_path / "empty", [])
    assert "at least one line to score" in mistake(
        "translator=null", "hypothesis=empty", "reference=empty"
    )


def test_an_output_that_cannot_be_a_folder(mistake: Evaluate) -> None:
    assert "`output` must be a folder that can be written to, but `test.en/x` gives" in mistake(
        "translator=null", "hypothesis=test.de", "reference=test.de", "output=test.en/x"
    )


def test_a_score_that_is_too_low(evaluate: Evaluate, mistake: Evaluate) -> None:
    files = ["translator=null", "hypothesis=test.en", "reference=test.de", "bootstrap=0"]
    evaluate(*files, "minimum_bleu=0.0")
    assert "BLEU must be at least 60 (`minimum_bleu`), but is " in mistake(
        *files, "minimum_bleu=60.0", "output=report"
    )
    assert report("report"), "the report tells why"
