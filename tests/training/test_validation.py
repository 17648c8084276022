"""A validation set is translated by all processes together, as one process would do it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from safetensors.torch import load_file

from nmt.config import TrainConfig
from nmt.corpus.prepare import prepare
from nmt.errors import ModelFolderError
from nmt.model.folder import read_description
from nmt.training.validation import Candidate, score_sets, translate_sets, write_candidate

MakeConfig = Callable[..., TrainConfig]


def processes(count: int) -> Mock:
    """An executor of so many processes: each computes its share of what is distributed."""

    def distribute(items: Sequence[Any], compute: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
        values: list[Any] = [None] * len(items)
        for rank in range(count):
            values[rank::count] = compute(items[rank::count])
        return values

    return Mock(distribute=distribute)


@pytest.fixture
def config(small: MakeConfig) -> TrainConfig:
    """A run with two validation sets."""
    config = small("training.validate_sentences=5")
    corpora = {"dev": config.data.valid["valid"], "held.out": config.data.test["test"]}
    return config.changed(data={"valid": corpora}, training={"best_by": "dev.bleu"})


@pytest.fixture
def candidate(config: TrainConfig, through: TrainConfig) -> Candidate:
    """The model of a finished run."""
    best = through.folder / "best"
    description, weights = read_description(best), load_file(best / "model.safetensors")
    return write_candidate(config, prepare(config.data, config.seed), description, weights)


def test_the_processes_together_translate_what_one_translates(
    config: TrainConfig, candidate: Candidate
) -> None:
    data = prepare(config.data, config.seed)
    alone = translate_sets(candidate, config, data, processes(1))
    assert {name: len(texts) for name, texts in alone.items()} == {"dev": 5, "held.out": 5}
    assert len({text for texts in alone.values() for text in texts}) > 1
    losses = {"dev": 3.0, "held.out": 2.0}
    for count in (2, 3, 16):  # more than there are sentences
        together = translate_sets(candidate, config, data, processes(count))
        assert together == alone
        assert score_sets(data, losses, together) == score_sets(data, losses, alone)


def test_a_model_folder_that_a_process_cannot_see(
    config: TrainConfig, candidate: Candidate
) -> None:
    shutil.rmtree(candidate.folder)
    data = prepare(config.data, config.seed)
    with pytest.raises(ModelFolderError, match=candidate.folder.name):
        translate_sets(candidate, config, data, processes(2))


def test_a_candidate_has_a_name_of_its_own_and_replaces_a_forgotten_one(
    config: TrainConfig, candidate: Candidate
) -> None:
    weights = load_file(candidate.folder / "model.safetensors")
    assert candidate.parameters == sum(value.numel() for value in weights.values())
    description, data = read_description(candidate.folder), prepare(config.data, config.seed)
    another = write_candidate(config, data, description, weights)
    assert another.folder != candidate.folder
    assert list(config.folder.glob("candidate-*")) == [another.folder]
