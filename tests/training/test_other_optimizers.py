"""Adagrad, Adafactor and the plateau schedule learn the digits, and resume to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from nmt.train import train
from nmt.training.checkpoint import STATE, Checkpoints
from tests.training.conftest import MakeConfig

WAYS = {
    "adagrad": ("optimizer=adagrad", "schedule=constant", "optimizer.learning_rate=0.05"),
    "adafactor": ("optimizer=adafactor", "schedule=constant", "optimizer.learning_rate=0.03"),
    "plateau": ("schedule=plateau", "optimizer.learning_rate=0.006"),
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


@pytest.mark.parametrize("way", WAYS)
def test_a_run_in_two_parts_ends_with_the_same_bits(small: MakeConfig, way: str) -> None:
    settings = (*WAYS[way], "schedule.warmup_steps=4", "training.validate_every=3")
    whole, parts = small(*settings, "name=whole"), small(*settings, "name=parts")
    train(whole)
    train(parts.changed(training={"max_steps": 11}))
    train(parts)

    def last(folder: Path) -> Path:
        return Checkpoints(folder / "checkpoints", 1).all()[-1]

    states = [load_file(last(one.folder) / STATE) for one in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(bool((states[0][name] == states[1][name]).all()) for name in states[0])
    scores = [
        json.loads((one.folder / "summary.json").read_text("utf-8")) for one in (whole, parts)
    ]
    assert scores[0]["best_score"] == scores[1]["best_score"]
