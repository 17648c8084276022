"""A corpus of numbers spelled out, small models that learn it, and the runs of both."""

import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir

from nmt.command import plain_values
from nmt.config import TrainConfig, read
from nmt.config.paths import configuration_folder
from nmt.train import train

ROOT = Path(__file__).parents[2]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = {"train": 3000, "valid": 50, "test": 100}
GROUP = """
defaults: [base, _self_]
name: digits
direction: digits-words
train:
  digits: {{source: [{folder}/train.digits], target: [{folder}/train.words]}}
valid:
  valid: {{source: [{folder}/valid.digits], target: [{folder}/valid.words]}}
test:
  test: {{source: [{folder}/test.digits], target: [{folder}/test.words]}}
# 256 byte pieces, 4 special ones, the digits, and the letters of the words, merged to whole words.
vocabulary: {{size: 330, kind: bpe, character_coverage: 1.0}}
batch: {{tokens: null, sentences: 32}}
cache: {folder}/cache
"""


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus, and its configuration group beside them."""

    folder: Path

    @property
    def conf(self) -> Path:
        """For hydra's `--config-dir`: it has `data/digits.yaml`."""
        return self.folder / "conf"

    def lines(self, name: str) -> list[str]:
        """The lines of a file, such as test.words."""
        return (self.folder / name).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """“3141” is translated to “three one four one”. No number occurs twice."""
    corpus, rng = Corpus(tmp_path_factory.mktemp("digits")), random.Random(0)
    numbers: dict[str, None] = {}
    while len(numbers) < sum(SIZES.values()):
        numbers["".join(rng.choices("0123456789", k=rng.randint(3, 6)))] = None
    rest = iter(numbers)
    for name, count in SIZES.items():
        source = [next(rest) for _ in range(count)]
        target = [" ".join(WORDS[int(digit)] for digit in number) for number in source]
        for side, lines in (("digits", source), ("words", target)):
            text = "".join(f"{line}\n" for line in lines)
            (corpus.folder / f"{name}.{side}").write_text(text, encoding="utf-8")
    (corpus.conf / "data").mkdir(parents=True)
    group = GROUP.format(folder=corpus.folder)
    (corpus.conf / "data" / "digits.yaml").write_text(group, encoding="utf-8")
    return corpus


MakeConfig = Callable[..., TrainConfig]

# A model too small to learn anything, with everything that could depend on where a run was
# interrupted: dropout, an average, validations and checkpoints at different steps.
SMALL = (
    "data=digits",
    "schedule=constant",
    "schedule.warmup_steps=4",
    "model.hidden_size=8",
    "model.embedding_dropout=0.1",
    "model.tie=target",
    "data.batch.sentences=16",
    "data.batch.pool=160",
    "parallel.device=cpu",
    "parallel.threads=1",
    "training.max_steps=24",
    "training.max_epochs=null",
    "training.validate_every=6",
    "training.validate_sentences=3",
    "training.checkpoint_every=5",
    "training.keep_checkpoints=3",
    "training.best_by=loss",
    "training.log_every=1",
    "training.average.every=2",
    "decode.max_length_ratio=1.0",
    "decode.max_length_offset=2",
)


@pytest.fixture(scope="session")
def small_values(digits: Corpus) -> dict[str, Any]:
    """The settings of a small run, as the command line would give them."""
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        overrides = [f"hydra.searchpath=[{digits.conf}]", "name=small", *SMALL]
        return plain_values(compose("train", overrides))


@pytest.fixture
def small(small_values: dict[str, Any], tmp_path: Path) -> MakeConfig:
    """A small run in a folder of the test, with overrides (composing anew takes a second)."""

    def make(*overrides: str) -> TrainConfig:
        values = copy.deepcopy({**small_values, "runs": str(tmp_path / "runs")})
        for override in overrides:
            path, _, text = override.partition("=")
            *groups, last = path.split(".")
            group = values
            for name in groups:
                group = group[name]
            is_group = isinstance(group[last], dict)
            file = configuration_folder() / last / f"{text}.yaml"
            group[last] = yaml.safe_load(file.read_text("utf-8") if is_group else text)
        return read(TrainConfig, values)

    return make


@pytest.fixture(scope="session")
def through(small_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A small run that was never interrupted; not to be changed."""
    runs = str(tmp_path_factory.mktemp("through"))
    config = read(TrainConfig, {**small_values, "runs": runs})
    torch.set_num_threads(1)
    train(config)
    return config


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """Use one thread."""


def train_command(config: TrainConfig, folder: Path) -> list[str]:
    """`nmt-train` with these settings, which go to a file in `folder`."""
    values = yaml.safe_dump(config.model_dump(mode="json"))
    (folder / f"{config.name}.yaml").write_text(values, encoding="utf-8")
    where = ["--config-dir", str(folder), "-cn", config.name]
    return [sys.executable, "-m", "nmt.train", *where]


def last_step(folder: Path) -> int:
    """The last step that the run has told of."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def kill_at_random(process: subprocess.Popen[str], folder: Path, rng: random.Random) -> None:
    """`kill -9` when it has done some more steps, anywhere between two of them."""
    first = last_step(folder)
    until = rng.randint(first + 1, first + 8)
    while process.poll() is None and not first < until <= last_step(folder):
        time.sleep(0.001)
    time.sleep(rng.random() * 0.05)
    process.kill()
