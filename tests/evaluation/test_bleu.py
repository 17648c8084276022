import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nmt.errors import InputError
from nmt.evaluation.bleu import ALL, score, sentence_scores

REFERENCES = [
    "Der Hund beißt den Mann.",
    "Ein Mann schläft auf einer Bank im Park.",
    "Zwei Kinder spielen Fußball auf der Wiese.",
    "Die Frau liest ein Buch, während es regnet.",
    "Das ist alles, was ich weiß.",
] * 4
HYPOTHESES = [
    "Der Hund beißt den Mann.",
    "ein Mann schläft im Park auf einer Bank.",
    "Zwei Kinder spielen auf der Wiese.",
    "Eine Frau liest ein Buch, und es regnet.",
    "Das ist alles, was ich weiss.",
] * 4
COMMAND = {  # our name → what the sacrebleu command is told
    "bleu": ["-m", "bleu"],
    "bleu_lowercase": ["-m", "bleu", "-lc"],
    "chrf": ["-m", "chrf"],
    "ter": ["-m", "ter"],
}


@pytest.mark.parametrize("name", ALL)
def test_the_sacrebleu_command_gives_the_same_score_interval_and_signature(
    name: str, tmp_path: Path
) -> None:
    for file, lines in (("hypotheses", HYPOTHESES), ("references", REFERENCES)):
        (tmp_path / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "references")]
    command += ["-i", str(tmp_path / "hypotheses"), *COMMAND[name], "-w", "6"]
    command += ["--confidence", "--confidence-n", "200"]
    done = subprocess.run(
        command, env={**os.environ, "SACREBLEU_SEED": "7"}, capture_output=True, check=True
    )
    theirs = json.loads(done.stdout)

    ours = score(HYPOTHESES, REFERENCES, bootstrap=200, seed=7)[name]

    assert ours.score == pytest.approx(theirs["score"], abs=1e-5)
    assert ours.signature == theirs["signature"]
    assert ours.interval is not None
    low, high = ours.interval
    assert (high - low) / 2 == pytest.approx(theirs["confidence_var"], abs=1e-3)
    assert low <= ours.score <= high


def test_a_value_worked_out_by_hand() -> None:
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, 0 of 2 fours (smoothed to 1/2 of a count)
    scores = score(["a b c d e"], ["a b c x e"], bootstrap=0, seed=0)
    assert scores["bleu"].score == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3 * 0.5 / 2) ** 0.25)
    assert scores["ter"].score == pytest.approx(20)


def test_perfect_translations() -> None:
    scores = score(REFERENCES, REFERENCES, bootstrap=10, seed=0)
    assert {name: round(value.score, 6) for name, value in scores.items()} == {
        "bleu": 100,
        "bleu_lowercase": 100,
        "chrf": 100,
        "ter": 0,
    }
    assert all(type(value.score) is float for value in scores.values())
    assert scores["ter"].interval == (0, 0)


def test_case_counts_in_one_bleu_only() -> None:
    lower = [line.lower() for line in REFERENCES]
    scores = score(lower, REFERENCES, bootstrap=0, seed=0)
    assert scores["bleu"].score < 60
    assert scores["bleu_lowercase"].score == pytest.approx(100)


def test_the_seed_alone_decides_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    first = score(HYPOTHESES, REFERENCES, bootstrap=50, seed=1)
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    assert score(HYPOTHESES, REFERENCES, bootstrap=50, seed=1) == first
    assert score(HYPOTHESES, REFERENCES, bootstrap=50, seed=2) != first


def test_no_resamples_no_interval() -> None:
    scores = score(HYPOTHESES, REFERENCES, bootstrap=0, seed=1, metrics=["chrf"])
    assert list(scores) == ["chrf"]
    assert scores["chrf"].interval is None
    assert "bs:" not in scores["chrf"].signature


def test_different_numbers_of_lines_are_an_error() -> None:
    with pytest.raises(InputError, match=r"as the references \(20\), but have 19 instead"):
        score(HYPOTHESES[1:], REFERENCES, bootstrap=0, seed=0)
    with pytest.raises(InputError, match=r"as the references \(1\), but have 2 instead"):
        sentence_scores(["a", "b"], ["a"])


def test_no_lines_are_an_error() -> None:
    with pytest.raises(InputError, match="at least one line to score"):
        score([], [], bootstrap=0, seed=0)


def test_empty_lines_are_scored() -> None:
    scores = score(["", "a b c d"], ["a b c d", ""], bootstrap=5, seed=0)
    assert scores["bleu"].score == 0
    assert score([""], [""], bootstrap=0, seed=0)["ter"].score == 0


def test_sentence_scores() -> None:
    same, other, nothing = sentence_scores(
        ["Der Hund.", "Die Katze schläft nie.", ""], ["Der Hund.", "Der Hund schläft.", "Der Hund."]
    )
    assert same.bleu == pytest.approx(100)
    assert same.chrf == pytest.approx(100)
    assert 0 < other.bleu < 50
    assert 0 < other.chrf < 70
    assert (nothing.bleu, nothing.chrf) == (0, 0)
