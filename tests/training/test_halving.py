"""Successive halving among runs that share a folder, budgets in tokens, and losses alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nmt.config import HalvingConfig
from nmt.errors import ConfigurationError
from nmt.run.result import RunResult
from nmt.train import train
from nmt.training.halving import LOSSES, Halving
from tests.training.conftest import MakeConfig


def halving(folder: Path | None, run: str, keep: float = 0.5) -> Halving:
    config = HalvingConfig(
        folder=None if folder is None else str(folder), by="tokens", rungs=[20, 10], keep=keep
    )
    return Halving(config, run)


def test_rungs_are_reached_once(tmp_path: Path) -> None:
    one = halving(tmp_path, "a")
    assert one.reached(100.0, 9) is None
    assert one.reached(100.0, 10) == 0
    assert one.reached(100.0, 19) is None
    assert one.reached(100.0, 25) == 1
    assert one.reached(100.0, 99) is None
    resumed = halving(tmp_path, "a")
    resumed.resume(0.0, 12)
    assert resumed.reached(0.0, 19) is None
    assert resumed.reached(0.0, 20) == 1
    assert halving(None, "a").reached(0.0, 99) is None


def test_the_best_half_goes_on(tmp_path: Path) -> None:
    losses = [5.0, 4.0, 6.0, 3.0, 3.5, 5.5]
    expected = [True, True, False, True, True, False]
    found = [halving(tmp_path, str(number)).survives(0, loss) for number, loss in enumerate(losses)]
    assert found == expected
    assert halving(tmp_path, "late").survives(1, 9.0), "it is alone at the next rung"
    assert not halving(tmp_path, "nan").survives(0, float("nan"))
    assert halving(tmp_path, "all", keep=1.0).survives(0, 99.0)


def test_a_run_that_begins_again_counts_once(tmp_path: Path) -> None:
    for loss in (1.0, 9.0):
        halving(tmp_path, "a").survives(0, loss)
    with (tmp_path / LOSSES).open("a", encoding="utf-8") as file:
        file.write('{"rung": 0, "ru\n')  # it was killed while it wrote
    assert halving(tmp_path, "b").survives(0, 2.0)
    assert halving(tmp_path, "c").survives(0, 3.0), "it is the second of three"
    assert not halving(tmp_path, "d").survives(0, 8.0)


def test_a_run_ends_where_its_rivals_are_better(small: MakeConfig, tmp_path: Path) -> None:
    rivals = tmp_path / "rivals"
    rivals.mkdir()
    lines = [{"rung": 0, "run": f"r{n}", "loss": 0.1} for n in range(4)]
    (rivals / LOSSES).write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    config = small().changed(
        training={
            "halving": {"folder": str(rivals), "by": "tokens", "rungs": [200.0], "keep": 0.5},
            "validate_sentences": 0,
        }
    )
    result = train(config)
    assert result.ended_by == "training.halving"
    assert 200 <= result.target_tokens < 400
    assert RunResult.load(config.folder).best_score == result.best_score
    left = [json.loads(line) for line in (rivals / LOSSES).read_text("utf-8").splitlines()]
    assert left[-1]["run"] == config.name
    assert left[-1]["loss"] == pytest.approx(result.best_score)


def test_a_run_of_so_many_tokens(small: MakeConfig) -> None:
    limits = {"max_steps": None, "max_tokens": 500}
    result = train(small("schedule=cosine").changed(training=limits))
    assert result.ended_by == "training.max_tokens"
    assert 500 <= result.target_tokens < 700


def test_losses_alone(small: MakeConfig) -> None:
    config = small("training.validate_sentences=0", "training.max_steps=2")
    result = train(config)
    (scores,) = result.validation.values()
    assert scores["bleu"] is None
    assert scores["sentences"] == 0
    assert scores["loss"] == result.best_score
    card = (config.folder / "best" / "README.md").read_text(encoding="utf-8")
    assert "Nothing was translated" in card
    with pytest.raises(ConfigurationError, match=r"`training.best_by` must be loss"):
        small("training.validate_sentences=0", "training.best_by=bleu")
