"""The whole way, by the commands: numbers are learned, translated, and survive `kill -9`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nmt.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]
ROOT = Path(__file__).parents[2]

LEARNING = (
    "data=digits",
    "name=learned",
    "model.hidden_size=64",
    "model.dropout=0.0",
    "optimizer.learning_rate=0.01",
    "schedule.warmup_steps=50",
    "parallel.device=cpu",
    "parallel.threads=1",
    "training.max_steps=400",
    "training.max_epochs=null",
    "training.label_smoothing=0.0",
    "training.validate_every=200",
    "training.validate_sentences=50",
    "training.checkpoint_every=200",
    "training.average.kind=none",
)


class Corpus(Protocol):
    """The fixture `digits`."""

    @property
    def conf(self) -> Path: ...

    @property
    def folder(self) -> Path: ...

    def lines(self, name: str) -> list[str]: ...


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def learned(digits: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has learned to spell numbers."""
    runs = tmp_path_factory.mktemp("runs")
    result = run("nmt.train", "--config-dir", str(digits.conf), *LEARNING, f"runs={runs}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "", "what is said belongs on stderr"
    assert "Traceback" not in result.stderr
    assert f"{runs}/learned/best" in result.stderr.splitlines()[-1]
    return runs / "learned"


def test_it_learns_to_spell_numbers(learned: Path) -> None:
    summary = json.loads((learned / "summary.json").read_text(encoding="utf-8"))
    assert summary["steps"] == 400
    assert summary["best_by"] == "bleu"
    assert summary["best_score"] > 90


def test_the_model_spells_numbers_it_has_not_seen(
    learned: Path, digits: Corpus, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    result = run(
        "nmt.translate",
        f"translator.folder={learned}/best",
        f"input={digits.folder}/test.digits",
        f"output={output}",
        "translator.device=cpu",
    )
    assert result.returncode == 0, result.stderr
    hypotheses = output.read_text(encoding="utf-8").splitlines()
    references = digits.lines("test.words")
    assert len(hypotheses) == len(references)
    right = sum(h == r for h, r in zip(hypotheses, references, strict=True))
    assert right >= 0.9 * len(references)


def test_a_mistake_is_one_line_and_no_traceback(learned: Path, digits: Corpus) -> None:
    overrides = [*LEARNING, f"runs={learned.parent}", "model.hidden_size=32"]
    result = run("nmt.train", "--config-dir", str(digits.conf), *overrides)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("nmt-train: error: `model` must be {")
    assert last.endswith("; choose another `name` for a new run.")
    saved = yaml.safe_load((learned / "config.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["hidden_size"] == 64, "a refused run changes nothing"


def last_step(folder: Path) -> int:
    """The last step that the run has told of."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


@pytest.mark.parametrize("seed", [0])
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(
    small: MakeConfig, through: TrainConfig, tmp_path: Path, seed: int
) -> None:
    """Two `kill -9` at random moments; the same bits as `through`, which had none."""
    chance, config = random.Random(seed), small()
    values = tmp_path / "killed.yaml"
    values.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    command = [sys.executable, "-m", "nmt.train", "--config-dir", str(tmp_path), "-cn", "killed"]
    for kills in (True, True, False):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        if kills:
            first = last_step(config.folder)
            until = chance.randint(first + 1, first + 8)
            while process.poll() is None and not first < until <= last_step(config.folder):
                time.sleep(0.001)
            time.sleep(chance.random() * 0.1)
            os.kill(process.pid, signal.SIGKILL)
        message = process.stderr.read()
        assert process.wait() == (-signal.SIGKILL if kills else 0), message
    summaries = [
        json.loads((one.folder / "summary.json").read_text(encoding="utf-8"))
        for one in (config, through)
    ]
    assert summaries[0]["best_score"] == summaries[1]["best_score"]
    for name in ("best/model.safetensors", "checkpoints/step-00000024/state.safetensors"):
        ours, expected = (load_file(one.folder / name) for one in (config, through))
        assert ours.keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in ours.items())
