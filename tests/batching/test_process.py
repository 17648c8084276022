"""Models in a process of their own do what they do here."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from nmt.batching import Limits, RequestOptions, RunningBatch, SearchSettings
from nmt.batching.process import EngineError, RemoteModel, load_models
from nmt.batching.requests import BatchEngine
from nmt.config import PrecisionConfig, UseConfig
from nmt.decoding import DEFAULT, Translator
from nmt.decoding.engine import Finished, Request
from nmt.errors import InputError, ModelFolderError, PlanError, WorkerError
from tests.conftest import LINES

USE = UseConfig(
    device="cpu", plan=None, precision=PrecisionConfig(name="fp32", emulate=False), threads=1
)
SHORT = DEFAULT.model_copy(update={"max_length_ratio": 1.0, "max_length_offset": 5})


@pytest.fixture
def model(tiny_model_folder: Path) -> RemoteModel:
    (found,) = load_models([str(tiny_model_folder)], USE, SHORT)
    return found


@pytest.fixture(scope="module")
def translator(tiny_model_folder: Path) -> Translator:
    return Translator.load(tiny_model_folder, device="cpu", threads=1, decode=SHORT)


def all_of(engine: BatchEngine, requests: list[Request]) -> dict[object, Finished]:
    """Two join at first, the others one by one."""
    engine.admit(requests[:2])
    waiting, found = requests[2:], {}
    while len(engine):
        for one in engine.step():
            found[one.id] = one
        if waiting:
            engine.admit([waiting.pop(0)])
    return found


def test_the_same_hypotheses(model: RemoteModel, translator: Translator) -> None:
    assert model.precision == "fp32"
    assert list(map(str, model.directions)) == ["en→de"]
    sources = translator.vocabulary.encode_batch(LINES[:6])
    assert model.vocabulary.encode_batch(LINES[:6]) == sources
    requests = [Request(i, source, n_best=1 + i % 3) for i, source in enumerate(sources)]
    requests[3] = Request(3, sources[3], longest=2)
    here = all_of(translator.engine(SHORT, True), requests)
    there = all_of(model.engine(SHORT, True), requests)
    assert here.keys() == there.keys() == set(range(6))
    for i in range(6):
        assert len(here[i].hypotheses) == 1 + i % 3 or i == 3
        for a, b in zip(here[i].hypotheses, there[i].hypotheses, strict=True):
            assert (a.pieces, a.truncated) == (b.pieces, b.truncated)
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-5)
            assert a.alignment is not None
            assert b.alignment is not None
            torch.testing.assert_close(a.alignment, b.alignment, atol=1e-5, rtol=0)
        texts = [
            one.translation(sources[i], here[i].hypotheses).text for one in (model, translator)
        ]
        assert texts[0] == texts[1]


def test_engines_take_turns_and_give_up_sentences(model: RemoteModel) -> None:
    source = model.vocabulary.encode(LINES[0])
    greedy = SHORT.model_copy(update={"beam_size": 1})
    one, other = model.engine(SHORT, False), model.engine(greedy, False)
    one.admit([Request(1, source), Request(2, source)])
    other.admit([Request(1, source)])
    assert (len(one), one.longest_source) == (2, len(source) + 1)
    one.step()
    assert one.cancel(1)
    assert not one.cancel(1)
    found = []
    while len(one) or len(other):
        found += [("one", finished.id) for finished in one.step()]
        found += [("other", finished.id) for finished in other.step()]
    assert sorted(found) == [("one", 2), ("other", 1)]
    assert one.step() == []
    one.admit([Request(3, source)])  # steps that were asked for ahead have found nothing
    while not (finished := one.step()):
        assert len(one) == 1
    assert [sentence.id for sentence in finished] == [3]


def test_a_running_batch(model: RemoteModel, translator: Translator) -> None:
    batch = RunningBatch(SHORT, Limits(100, 10_000, 4))
    try:
        sources = translator.vocabulary.encode_batch(LINES[:9])
        futures = [
            batch.submit(
                model, sources, RequestOptions(SearchSettings(beams, False)), caller
            ).future
            for caller, beams in (("a", 1), ("b", 5), ("c", 5))
        ]
        texts = [[one.text for one in future.result(60)] for future in futures]
    finally:
        batch.close()
    for beams, found in zip((1, 5, 5), texts, strict=True):
        decode = SHORT.model_copy(update={"beam_size": beams})
        assert found == [one.text for one in translator.translate(LINES[:9], decode)]


def test_a_step_that_fails(model: RemoteModel) -> None:
    engine = model.engine(SHORT, False)
    engine.admit([Request(1, [10**9])])  # no such piece
    with pytest.raises(EngineError, match="Error"):
        engine.step()
    with pytest.raises(EngineError):
        engine.step()
    again = model.engine(SHORT, False)
    again.admit([Request(1, model.vocabulary.encode(LINES[0]))])
    while not again.step():
        pass


def test_a_process_that_is_killed(model: RemoteModel) -> None:
    batch = RunningBatch(SHORT, Limits(100, 10_000, 4))
    source = model.vocabulary.encode(LINES[0])
    os.kill(model._process.pid, signal.SIGKILL)
    future = batch.submit(model, [source], RequestOptions(SearchSettings(5, False)), "a").future
    with pytest.raises(WorkerError, match=r"killed by signal 9 \(out of memory\?\)"):
        future.result(60)
    assert isinstance(batch.failure, WorkerError)
    batch.close()


def test_it_ends_when_nobody_needs_it(tiny_model_folder: Path) -> None:
    models = load_models([str(tiny_model_folder)] * 2, USE, SHORT)
    pid = models[0]._process.pid
    engine = models[1].engine(SHORT, False)
    del models
    os.kill(pid, 0)  # the engine still needs it
    del engine
    gc.collect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("the process goes on")


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        pytest.param(
            USE.model_copy(update={"device": "cuda"}),
            InputError,
            "cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="it can be"),
        ),
        (
            USE.model_copy(update={"device": "auto", "plan": "nowhere.json"}),
            PlanError,
            "nowhere.json",
        ),
    ],
)
def test_what_cannot_be_loaded(
    tiny_model_folder: Path, use: UseConfig, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_models([str(tiny_model_folder)], use, SHORT)


def test_a_folder_without_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    for file in tiny_model_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelFolderError, match="safetensors"):
        load_models([str(tmp_path)], USE, SHORT)
