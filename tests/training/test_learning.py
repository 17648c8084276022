"""The whole way, by the commands: numbers are learned, translated, and survive `kill -9`."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch
from safetensors.torch import load_file

from nmt import Translator
from nmt.config import TrainConfig
from tests.training.conftest import ROOT, kill_at_random, train_command

MakeConfig = Callable[..., TrainConfig]

LEARNING = (
    "data=digits",
    "name=learned",
    "model.hidden_size=96",
    "model.dropout=0.0",
    "optimizer.learning_rate=0.006",
    "schedule.warmup_steps=50",
    "parallel.device=cpu",
    "parallel.threads=1",
    "training.max_steps=350",
    "training.max_epochs=null",
    "training.label_smoothing=0.0",
    "training.validate_every=175",
    "training.validate_sentences=50",
    "training.checkpoint_every=175",
    "training.average.kind=none",
)


class Corpus(Protocol):
    """The fixture `digits`."""

    @property
    def conf(self) -> Path: ...

    def lines(self, name: str) -> list[str]: ...


@pytest.fixture(scope="module")
def learned(digits: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has learned to spell numbers."""
    runs = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "nmt.train", "--config-dir", str(digits.conf)]
    command += [*LEARNING, f"runs={runs}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "", "what is said belongs on stderr"
    assert "Traceback" not in result.stderr
    assert f"{runs}/learned/best" in result.stderr.splitlines()[-1]
    return runs / "learned"


def test_it_learns_to_spell_numbers(learned: Path) -> None:
    summary = json.loads((learned / "summary.json").read_text(encoding="utf-8"))
    assert summary["steps"] == 350
    assert summary["best_by"] == "bleu"
    assert summary["best_score"] > 90


def test_the_model_spells_numbers_it_has_not_seen(learned: Path, digits: Corpus) -> None:
    translator = Translator.load(learned / "best", device="cpu")
    hypotheses = [one.text for one in translator.translate(digits.lines("test.digits"))]
    references = digits.lines("test.words")
    right = sum(h == r for h, r in zip(hypotheses, references, strict=True))
    assert right >= 0.9 * len(references)


def test_a_run_that_is_killed_ends_as_if_it_had_not_been(
    small: MakeConfig, through: TrainConfig, tmp_path: Path
) -> None:
    """`kill -9` at a random moment; the same bits as `through`, which had none."""
    rng, config = random.Random(0), small()
    command = train_command(config, tmp_path)
    for kills in (True, False):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            if kills:
                kill_at_random(process, config.folder, rng)
            _, message = process.communicate()
        assert process.returncode == (-signal.SIGKILL if kills else 0), message
    summaries = [
        json.loads((one.folder / "summary.json").read_text(encoding="utf-8"))
        for one in (config, through)
    ]
    assert summaries[0]["best_score"] == summaries[1]["best_score"]
    for name in ("best/model.safetensors", "checkpoints/step-00000024/state.safetensors"):
        ours, expected = (load_file(one.folder / name) for one in (config, through))
        assert ours.keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in ours.items())
