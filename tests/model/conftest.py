from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nmt.config import GnmtConfig
from nmt.model.batch import Batch

MakeModel = Callable[..., GnmtConfig]
MakeBatch = Callable[..., Batch]


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """Models this small only lose time by waiting for a second thread."""


@pytest.fixture
def model_config() -> MakeModel:
    """A small model's configuration, with changes."""

    def make(**changes: Any) -> GnmtConfig:
        values: dict[str, Any] = {
            "name": "test",
            "architecture": "gnmt",
            "cell": "lstm",
            "encoder_layers": 3,
            "decoder_layers": 3,
            "hidden_size": 6,
            "dropout": 0.0,
            "embedding_dropout": 0.0,
            "residual": "full",
            "bidirectional_layers": 1,
            "context": "all",
            "normalisation": "none",
            "attention": "additive",
            "attention_heads": 1,
            "tie": "none",
        }
        return GnmtConfig(**{**values, **changes})

    return make


@pytest.fixture
def random_batch() -> MakeBatch:
    """A ragged batch of random pieces."""

    def make(
        source_lengths: tuple[int, ...] = (5, 2, 7, 1),
        target_lengths: tuple[int, ...] = (3, 6, 1, 4),
        vocabulary: int = 20,
        seed: int = 0,
    ) -> Batch:
        chance = np.random.default_rng(seed)

        def rows(lengths: tuple[int, ...]) -> list[np.ndarray]:
            return [chance.integers(4, vocabulary, length) for length in lengths]

        return Batch.from_rows(rows(source_lengths), rows(target_lengths))

    return make
