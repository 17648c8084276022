"""The running batch in compiled code against the one in PyTorch's operations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nmt.config import DecodeConfig
from nmt.decoding.engine import Engine, Hypothesis, Request
from nmt.decoding.native_batch import NativeBatch
from nmt.decoding.search_step import SearchStep
from nmt.decoding.tensor_batch import TensorBatch
from nmt.model.shortlist import Shortlist
from nmt.precision.formats import format_of
from nmt.precision.int8 import has_int8
from nmt.runtime.native import Search, Sentences
from nmt.runtime.stepper import Stepper
from tests.cells import BOUNDED, PRODUCTS_OF_INPUT
from tests.random_models import MakeDecode, MakeModel, Model, assert_same_hypotheses

VOCABULARY = 100  # more than a block of the compiled products
LENGTHS = [1, 2, 3, 5, 8, 13, 4, 40, 7, 7, 6, 9, 11, 1, 30, 22, 17, 3, 4, 5]
RANDOM = np.random.default_rng(0)
SOURCES = [RANDOM.integers(4, VOCABULARY, length).tolist() for length in LENGTHS]
SOURCES.append([9] * 25)  # whose n-grams repeat

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "own cell": {"cell": BOUNDED},
    "own cell, products of the input": {"cell": PRODUCTS_OF_INPUT, "hidden_size": 24},
    "deep": {"encoder_layers": 4, "decoder_layers": 4, "residual": "gnmt"},
    "products": {"attention": "dot"},
    "heads": {"attention_heads": 4, "hidden_size": 72},
    "heads of products": {"attention": "dot", "attention_heads": 2, "hidden_size": 24},
    "normalised": {"normalisation": "layer", "hidden_size": 40},
    "normalised cells": {"normalisation": "layer", "cell": BOUNDED, "residual": "gnmt"},
    "both ways": {"encoder_layers": 4, "bidirectional_layers": 3, "context": "first"},
    "odd sizes": {"hidden_size": 19, "encoder_layers": 3},
    "wide": {"hidden_size": 72, "tie": "all"},
    "clipped": {"clip": 1.5, "cells": True},
}
DECODES: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1},
    "beam": {"beam_size": 5, "n_best": 5, "coverage_penalty": 0.3, "length_penalty": 1.0},
    "no repetition": {"beam_size": 3, "n_best": 2, "no_repeat_ngram": 2, "max_repeats": 1},
    "short": {"beam_size": 4, "n_best": 4, "max_length_ratio": 0.1, "max_length_offset": 3},
}


def in_format(model: Model, precision: Any, shortlist: Shortlist | None = None) -> Stepper:
    """The model's layers in a number format."""
    return Stepper(model.graph, model.weights, lambda _: "cpu", format_of(precision), shortlist)


def by_pytorch(stepper: Stepper, decode: DecodeConfig) -> Engine:
    """A running batch in PyTorch's operations."""
    return Engine(stepper, decode, True, SearchStep(stepper))


def translated(engine: Engine, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
    """All sources at once."""
    engine.admit([Request(i, source) for i, source in enumerate(sources)])
    found: dict[object, list[Hypothesis]] = {}
    while len(engine):
        found.update({one.id: one.hypotheses for one in engine.step()})
    return [found[i] for i in range(len(sources))]


def test_compiled_code_is_used(make_model: MakeModel, make_decode: MakeDecode) -> None:
    stepper = make_model().stepper
    assert isinstance(Engine(stepper, make_decode())._batch, NativeBatch)
    assert isinstance(Engine(stepper, make_decode(beam_size=33))._batch, TensorBatch)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("decode", DECODES)
@pytest.mark.parametrize("threads", [1, 2])
def test_fp32_gives_the_same(
    make_model: MakeModel, make_decode: MakeDecode, model: str, decode: str, threads: int
) -> None:
    stepper = make_model(vocabulary=VOCABULARY, scale=2.0, **MODELS[model]).stepper
    settings = make_decode(**DECODES[decode])
    found = translated(Engine(stepper, settings, True, threads=threads), SOURCES)
    expected = translated(by_pytorch(stepper, settings), SOURCES)
    for one, wanted in zip(found, expected, strict=True):
        assert_same_hypotheses(one, wanted, 2e-4)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("model", MODELS)
def test_few_bits_give_almost_always_the_same(
    make_model: MakeModel, make_decode: MakeDecode, precision: str, model: str
) -> None:
    if precision == "int8" and not has_int8():
        pytest.skip("this processor has no instructions for int8")
    made = make_model(vocabulary=VOCABULARY, scale=1.0, end=2.0, **MODELS[model])
    stepper, settings = in_format(made, precision), make_decode(beam_size=4)
    found = translated(Engine(stepper, settings, True), SOURCES)
    expected = translated(by_pytorch(stepper, settings), SOURCES)
    scores = [[one[0].score for one in side] for side in (found, expected)]
    # Normalisation scales small differences up.
    of_int8 = 0.03 if "normalisation" in MODELS[model] else 0.02
    np.testing.assert_allclose(scores[0], scores[1], atol=of_int8 if precision == "int8" else 0.1)
    pairs = zip(found, expected, strict=True)
    same = sum(one[0].pieces == wanted[0].pieces for one, wanted in pairs)
    assert same >= len(SOURCES) - 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_shortlist_gives_the_same(
    make_model: MakeModel, make_decode: MakeDecode, precision: str
) -> None:
    if precision == "int8" and not has_int8():
        pytest.skip("this processor has no instructions for int8")
    candidates = torch.from_numpy(RANDOM.integers(4, VOCABULARY, (VOCABULARY, 6))).int()
    shortlist = Shortlist(candidates, torch.tensor([4, 5, 99], dtype=torch.int32))
    made = make_model(vocabulary=VOCABULARY, end=2.0)
    stepper = in_format(made, precision, shortlist)
    settings = make_decode(beam_size=3, no_repeat_ngram=2, max_repeats=1)
    found = translated(Engine(stepper, settings, True), SOURCES)
    expected = translated(by_pytorch(stepper, settings), SOURCES)
    allowed = shortlist.allowed(SOURCES)
    for i, (one, wanted) in enumerate(zip(found, expected, strict=True)):
        assert one[0].score == pytest.approx(
            wanted[0].score, abs=1e-3 if precision == "fp32" else 0.1
        )
        assert all(allowed[i, piece] for piece in one[0].pieces)
        if precision == "fp32":
            assert_same_hypotheses(one, wanted, 2e-4)


def test_weights_that_are_not_numbers_give_no_translation(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    made = make_model()
    weights = {name: value.clone() for name, value in made.weights.items()}
    weights["output.bias"].fill_(float("nan"))
    stepper = Stepper(made.graph, weights, lambda _: "cpu")
    for beams in (1, 3):
        (found,) = translated(Engine(stepper, make_decode(beam_size=beams)), [[4, 5]])
        assert found == []


def test_steps_do_not_depend_on_company(make_model: MakeModel, make_decode: MakeDecode) -> None:
    stepper = make_model(vocabulary=VOCABULARY).stepper
    settings = make_decode(beam_size=2)
    together = translated(Engine(stepper, settings, True), SOURCES)
    for source, expected in zip(SOURCES, together, strict=True):
        (alone,) = translated(Engine(stepper, settings, True), [source])
        # To the bit: a row's sums do not depend on the other rows.
        assert [replace(one, alignment=None) for one in alone] == [
            replace(one, alignment=None) for one in expected
        ]


def test_memory_that_is_short_is_an_error(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model().stepper.native
    assert model is not None
    monkeypatch.setattr(model._code, "nmt_encode", lambda *_: 0)
    with pytest.raises(MemoryError, match="no memory to encode 3 tokens"):
        model.start([[4, 5, 3]], [Search(1, 5, 0, 0, 0.0, False)], 1)


@pytest.mark.parametrize("source", [[], [4, VOCABULARY], [-1, 3], [10**9]])
def test_compiled_code_never_reads_what_is_not_there(
    make_model: MakeModel, source: list[int]
) -> None:
    model = make_model(vocabulary=VOCABULARY).stepper.native
    assert model is not None
    with pytest.raises(IndexError, match="must be 0 to 99"):
        model.start([source], [Search(1, 5, 0, 0, 0.0, False)], 1)


def test_events_name_the_sentences(make_model: MakeModel) -> None:
    model = make_model(end=50.0).stepper.native  # everything ends at once
    assert model is not None
    search = Search(1, 5, 0, 0, 0.0, False)
    sentences = model.start([[4, 3], [5, 6, 3]], [search, search], 1)
    assert model.step(Sentences(sentences), model.room(1), 1) == [0, 1]
    assert [one.ended()[0].tokens for one in sentences] == [[], []]
