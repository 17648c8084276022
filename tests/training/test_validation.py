"""A validation set is translated by all processes together, as one process would do it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from nmt.config import TrainConfig
from nmt.corpus.prepare import prepare
from nmt.errors import ModelFolderError
from nmt.model.folder import read_description
from nmt.training.validation import Candidate, score_candidate, translate_sets

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
def candidate(small: MakeConfig, through: TrainConfig) -> Candidate:
    """The model of a finished run."""
    config = small("training.validate_sentences=5")
    corpora = {"dev": config.data.valid["valid"], "held.out": config.data.test["test"]}
    config = config.changed(data={"valid": corpora}, training={"best_by": "dev.bleu"})
    shutil.copytree(through.folder / "best", config.folder / "candidate")
    description = read_description(config.folder / "candidate")
    return Candidate(config, prepare(config.data, config.seed), description)


def test_the_processes_together_translate_what_one_translates(candidate: Candidate) -> None:
    alone = translate_sets(candidate, processes(1))
    assert {name: len(texts) for name, texts in alone.items()} == {"dev": 5, "held.out": 5}
    assert len({text for texts in alone.values() for text in texts}) > 1
    losses = {"dev": 3.0, "held.out": 2.0}
    for count in (2, 3, 16):  # more than there are sentences
        together = translate_sets(candidate, processes(count))
        assert together == alone
        assert score_candidate(candidate, losses, together) == score_candidate(
            candidate, losses, alone
        )


def test_a_model_folder_that_a_process_cannot_see(candidate: Candidate) -> None:
    shutil.rmtree(candidate.folder)
    with pytest.raises(ModelFolderError, match="candidate"):
        translate_sets(candidate, processes(2))
