"""Adagrad, Adafactor, the plateau schedule and an update rule learn the digits."""

from __future__ import annotations

import pytest

from nmt.train import train
from tests.training.conftest import MakeConfig

WAYS = {
    "adagrad": ("optimizer=adagrad", "schedule=constant", "optimizer.learning_rate=0.05"),
    "adafactor": ("optimizer=adafactor", "schedule=constant", "optimizer.learning_rate=0.03"),
    "plateau": ("schedule=plateau", "optimizer.learning_rate=0.006"),
    "rule": ("optimizer=rule", "optimizer.rule=lion", "optimizer.learning_rate=0.002"),
}
LEARNING = (
    "model.hidden_size=64",
    "model.embedding_dropout=0.0",
    "model.dropout=0.0",
    "training.label_smoothing=0.0",
    "training.max_steps=360",
    "training.validate_every=120",
    "training.validate_sentences=50",
    "training.checkpoint_every=120",
    "training.best_by=bleu",
    "data.batch.sentences=32",
    "decode.max_length_offset=10",
)


@pytest.mark.parametrize("way", WAYS)
def test_it_learns_to_spell_numbers(small: MakeConfig, way: str) -> None:
    config = small(*WAYS[way], *LEARNING, "schedule.warmup_steps=30", f"name={way}")
    result = train(config)
    assert result.best_score is not None
    assert result.best_score > 60
