"""Captured steps against ordinary ones. Where there is no GPU, recording is replaced by doing the
work again each time, from the same buffers to the same buffers."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nmt.decoding.cuda_graphs import (
    GraphSearchStep,
    fastest_search_step,
    rounded_positions,
    rounded_sentences,
)
from nmt.decoding.engine import Engine, Finished, Hypothesis, Request
from nmt.decoding.search_step import SearchStep
from nmt.runtime.stepper import Stepper
from tests.random_models import MakeDecode, MakeModel, assert_same_hypotheses

SOURCES = [
    np.random.default_rng(seed).integers(4, 30, 1 + seed * 7 % 40).tolist() for seed in range(24)
]
MakeAdvance = Callable[[Stepper], SearchStep]


def again(function: Callable[[], None]) -> Callable[[], None]:
    function()  # what it makes has to be there once it is captured
    return function


def replayed(stepper: Stepper) -> SearchStep:
    return GraphSearchStep(stepper, again, 2**31)


def translate(engine: Engine, sources: dict[int, list[int]]) -> dict[object, list[Hypothesis]]:
    """Some at first, and three more after each step."""
    waiting, found = list(sources.items()), list[Finished]()
    while waiting or len(engine):
        engine.admit([Request(i, source) for i, source in waiting[:3]])
        waiting = waiting[3:]
        found += engine.step()
    return {one.id: one.hypotheses for one in found}


def assert_same(
    found: dict[object, list[Hypothesis]],
    by: dict[object, list[Hypothesis]],
    tolerance: float = 1e-4,
) -> None:
    assert found.keys() == by.keys()
    for i, hypotheses in found.items():
        assert_same_hypotheses(hypotheses, by[i], tolerance)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize(
    ("cell", "coverage", "most_bytes"),
    [
        ("lstm", 0.0, 2**31),
        ("lstm", 0.2, 2**31),
        ("lstm", 0.0, 1),
        ("lstm", 0.2, 1),
        ("gru", 0.2, 2**31),
    ],
)
def test_recorded_steps_are_steps(
    make_model: MakeModel,
    make_decode: MakeDecode,
    cell: str,
    beam: int,
    coverage: float,
    most_bytes: int,
) -> None:
    model = make_model(vocabulary=30, seed=1, cell=cell)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", padded=True)
    decode = make_decode(
        beam_size=beam, n_best=min(beam, 2), coverage_penalty=coverage, no_repeat_ngram=2
    )
    sources = dict(enumerate(SOURCES))
    expected = translate(Engine(model.stepper, decode, True), sources)
    assert len({len(one[0].pieces) for one in expected.values()}) > 3
    for _ in range(2):  # the second time, with the first one's steps
        search_step = GraphSearchStep(stepper, again, most_bytes)  # 1 byte: one size at a time
        assert_same(translate(Engine(stepper, decode, True, search_step), sources), expected)
        assert len(stepper.idle_graphs) == 1
    captured = stepper.idle_graphs[0].kept
    assert len(captured) == 1 if most_bytes == 1 else len(captured) > 3


def test_batches_at_the_same_time_do_not_disturb_each_other(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    stepper, decode = make_model(vocabulary=30, seed=1).stepper, make_decode(beam_size=3)
    halves = [dict(list(enumerate(SOURCES))[i::2]) for i in range(2)]
    expected = [
        translate(Engine(stepper, decode, True, SearchStep(stepper)), one) for one in halves
    ]
    engines = [Engine(stepper, decode, True, replayed(stepper)) for _ in halves]
    found: list[dict[object, list[Hypothesis]]] = [{}, {}]
    for engine, sources in zip(engines, halves, strict=True):
        engine.admit([Request(i, source) for i, source in sources.items()])
    while any(map(len, engines)):
        for engine, mine in zip(engines, found, strict=True):
            mine.update({one.id: one.hypotheses for one in engine.step()})
    for got, wanted in zip(found, expected, strict=True):
        assert_same(got, wanted)
    assert len(stepper.idle_graphs) == 2


def test_sentences_can_be_taken_out(make_model: MakeModel, make_decode: MakeDecode) -> None:
    stepper, decode = make_model(vocabulary=30, seed=1).stepper, make_decode(beam_size=3)

    def without_one(search_step: SearchStep) -> dict[object, list[Hypothesis]]:
        engine = Engine(stepper, decode, True, search_step)
        engine.admit([Request(i, source) for i, source in enumerate(SOURCES[:6])])
        found = [one for _ in range(3) for one in engine.step()]
        victim = next(i for i in range(6) if i not in [one.id for one in found])
        assert engine.cancel(victim)
        while len(engine):
            found += engine.step()
        return {one.id: one.hypotheses for one in found}

    assert_same(without_one(replayed(stepper)), without_one(SearchStep(stepper)))


def test_what_does_not_fit_in_memory_is_not_recorded(
    make_model: MakeModel, make_decode: MakeDecode, caplog: pytest.LogCaptureFixture
) -> None:
    def full(function: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG001 - as capture
        raise torch.OutOfMemoryError

    stepper, decode = make_model(vocabulary=30, seed=1).stepper, make_decode(beam_size=3)
    sources = dict(enumerate(SOURCES[:6]))
    expected = translate(Engine(stepper, decode, True, SearchStep(stepper)), sources)
    search_step = GraphSearchStep(stepper, full, 2**31)
    assert_same(translate(Engine(stepper, decode, True, search_step), sources), expected)
    assert not stepper.idle_graphs[0].kept
    assert "too little memory" in caplog.text


def test_a_model_is_freed_with_its_recordings(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    model = make_model(vocabulary=30, seed=1)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", padded=True)

    def traced(function: Callable[[], None]) -> Callable[[], None]:
        function()  # and is forgotten, as a captured graph does not need it
        return lambda: None

    decode = make_decode(beam_size=2, max_length_ratio=1e-9, max_length_offset=5)
    search_step = GraphSearchStep(stepper, traced, 2**31)
    translate(Engine(stepper, decode, False, search_step), dict(enumerate(SOURCES[:6])))
    assert stepper.idle_graphs[0].kept
    freed = weakref.ref(stepper)
    gc.disable()
    try:
        del stepper, search_step
        assert freed() is None
    finally:
        gc.enable()


def test_sizes_are_rounded_up() -> None:
    sizes = [rounded_sentences(count) for count in range(1, 200)]
    assert all(count <= size for count, size in enumerate(sizes, 1))
    assert sorted(set(sizes)) == [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224]
    assert [rounded_positions(count) for count in (1, 16, 17, 33)] == [16, 16, 32, 48]


def test_a_cpu_steps_the_ordinary_way(make_model: MakeModel) -> None:
    assert type(fastest_search_step(make_model().stepper)) is SearchStep


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("beam", [1, 4])
def test_a_gpu_replays_what_it_has_recorded(
    make_model: MakeModel, make_decode: MakeDecode, monkeypatch: pytest.MonkeyPatch, beam: int
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = make_model(vocabulary=30, seed=1)
    here = Stepper(model.graph, model.weights, lambda _: "cpu")
    there = Stepper(model.graph, model.weights, lambda _: "cuda")
    decode = make_decode(beam_size=beam, n_best=min(beam, 2), no_repeat_ngram=2)
    sources = dict(enumerate(SOURCES))
    expected = translate(Engine(here, decode, alignments=True), sources)
    for _ in range(2):
        found = translate(Engine(there, decode, alignments=True), sources)
        assert_same(found, expected, tolerance=2e-3)
    kinds = [key[0] for key in there.idle_graphs[0].kept]
    assert kinds.count("step") > 3
    assert kinds.count("source") >= 3
