"""The running batch against slow searches, and against itself in other company."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config import DecodeConfig
from nmt.decoding.engine import Engine, Hypothesis, Request
from nmt.decoding.penalties import LengthPenalty
from nmt.model.batch import EOS
from nmt.model.shortlist import Shortlist
from nmt.runtime import stepper as stepper_module
from nmt.runtime.stepper import Stepper
from tests.random_models import MakeDecode, MakeModel, Model, assert_same_hypotheses

WORDS = (4, 5, 6, 7)


@pytest.fixture(autouse=True, params=["compiled code", "PyTorch"])
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here, with both implementations of the running batch."""
    if request.param == "PyTorch":
        monkeypatch.setattr(stepper_module, "native_model", lambda *_: None)


def run(engine: Engine) -> dict[object, list[Hypothesis]]:
    """Step until the batch is empty."""
    found = {}
    while len(engine):
        found.update({finished.id: finished.hypotheses for finished in engine.step()})
    return found


def search(
    model: Model, source: Sequence[int], decode: DecodeConfig, longest: int | None = None
) -> list[Hypothesis]:
    """One sentence alone."""
    engine = Engine(model.stepper, decode, alignments=True)
    engine.admit([Request("one", source, longest=longest)])
    return run(engine)["one"]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_finds_the_best_of_all_translations(
    make_model: MakeModel, make_decode: MakeDecode, alpha: float, beta: float, seed: int
) -> None:
    model, longest, source = make_model(vocabulary=8, seed=seed, scale=2.0), 4, [4, 7, 5]
    decode = make_decode(beam_size=100, n_best=6, length_penalty=alpha, coverage_penalty=beta)
    every = [t for n in range(longest) for t in itertools.product(WORDS, repeat=n)]
    scores = {target: model.score(source, target, decode) for target in every}
    expected = sorted(every, key=lambda target: -scores[target])[:6]
    found = search(model, source, decode, longest)
    assert [tuple(one.pieces) for one in found] == expected
    for one, target in zip(found, expected, strict=True):
        assert one.score == pytest.approx(scores[target], abs=1e-4)
        assert not one.truncated


def slow_beam(
    model: Model, source: Sequence[int], decode: DecodeConfig, longest: int
) -> tuple[list[int], float]:
    """Beam search word by word, with a full pass for each hypothesis; no coverage penalty."""
    K, alpha = decode.beam_size, LengthPenalty(decode.length_penalty)
    hypotheses: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, longest + 1):
        candidates = []
        for total, pieces in hypotheses:
            row = model.full_pass(source, pieces)[0][-1].tolist()
            candidates += [(total + row[w], [*pieces, w]) for w in range(EOS, len(row))]
        candidates.sort(key=lambda one: -one[0])
        ended = [one for one in candidates[:K] if one[1][-1] == EOS]
        finished += [(total / alpha(length), pieces[:-1]) for total, pieces in ended]
        hypotheses = [one for one in candidates[: 2 * K] if one[1][-1] != EOS][:K]
        best = max((score for score, _ in finished), default=float("-inf"))
        if len(finished) >= K or best >= hypotheses[0][0] / alpha(longest):
            break
    if not finished:
        finished = [(total / alpha(longest), pieces) for total, pieces in hypotheses]
    score, pieces = max(finished, key=lambda one: one[0])
    return pieces, score


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("end", [-2.0, 1.0])
def test_the_search_equals_a_slow_one(
    make_model: MakeModel, make_decode: MakeDecode, beam: int, alpha: float, end: float
) -> None:
    model = make_model(vocabulary=12, seed=3, end=end)
    decode = make_decode(beam_size=beam, length_penalty=alpha, coverage_penalty=0.0)
    for source in ([4, 5, 6], [9, 8, 7, 6, 5], [10]):
        found = search(model, source, decode, longest=9)[0]
        pieces, score = slow_beam(model, source, decode, longest=9)
        assert found.pieces == pieces
        assert found.score == pytest.approx(score, abs=1e-4)


def test_alignments_are_those_of_the_full_pass(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    model = make_model(vocabulary=12, seed=3, end=-1.0)
    sources = dict(enumerate([[4, 5, 6], [9, 8, 7, 6, 5, 4], [10]]))
    engine = Engine(model.stepper, make_decode(beam_size=4, n_best=4), alignments=True)
    engine.admit([Request(0, sources[0]), Request(1, sources[1])])
    engine.step()
    engine.admit([Request(2, sources[2])])
    for i, hypotheses in run(engine).items():
        assert isinstance(i, int)
        for one in hypotheses:
            _, expected = model.full_pass(sources[i], one.pieces)
            assert one.alignment is not None
            torch.testing.assert_close(
                one.alignment, expected[: len(one.pieces)], rtol=0, atol=1e-4
            )


def test_no_alignments_unless_asked_for(make_model: MakeModel, make_decode: MakeDecode) -> None:
    engine = Engine(make_model().stepper, make_decode())
    engine.admit([Request(0, [4, 5])])
    assert all(one.alignment is None for one in run(engine)[0])


SOURCES = [
    np.random.default_rng(seed).integers(4, 30, 1 + seed * 5 % 11).tolist() for seed in range(12)
]


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from([1, 3]))
def test_a_translation_does_not_depend_on_its_company(data: st.DataObject, beam: int) -> None:
    model, decode, alone = COMPANY[beam]
    engine = Engine(model.stepper, decode, alignments=True)
    waiting = data.draw(st.permutations(range(len(SOURCES))))
    cancelled: set[int] = set()
    found: dict[object, list[Hypothesis]] = {}
    while waiting or len(engine):
        count = data.draw(st.integers(0 if len(engine) else 1, 4))
        engine.admit([Request(i, SOURCES[i]) for i in waiting[:count]])
        running = [i for i in range(len(SOURCES)) if i not in waiting and i not in found]
        running = [i for i in running if i not in cancelled] + waiting[:count]
        waiting = waiting[count:]
        assert len(engine) == len(set(running))
        if running and data.draw(st.integers(0, 5)) == 0:
            victim = data.draw(st.sampled_from(running))
            assert engine.cancel(victim)
            cancelled.add(victim)
        found.update({one.id: one.hypotheses for one in engine.step()})
    assert found.keys() == set(range(len(SOURCES))) - cancelled
    for i, hypotheses in found.items():
        assert isinstance(i, int)
        assert_same_hypotheses(hypotheses, alone[i], 1e-4)


COMPANY: dict[int, tuple[Model, DecodeConfig, list[list[Hypothesis]]]] = {}


@pytest.fixture(autouse=True)
def _company(make_model: MakeModel, make_decode: MakeDecode) -> None:
    """What each source gives alone; hypothesis cannot use fixtures itself."""
    if not COMPANY:
        model = make_model(vocabulary=30, seed=1)
        for beam in (1, 3):
            decode = make_decode(beam_size=beam, n_best=min(beam, 2), no_repeat_ngram=2)
            alone = [search(model, source, decode) for source in SOURCES]
            COMPANY[beam] = model, decode, alone


def test_the_sources_differ_in_what_they_test() -> None:
    for _, _, alone in COMPANY.values():
        assert len({len(hypotheses[0].pieces) for hypotheses in alone}) > 3
        assert {hypotheses[0].truncated for hypotheses in alone} == {True, False}


def test_what_does_not_end_is_cut_off_and_marked(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    model = make_model(end=-100.0)
    for beam in (1, 3):
        decode = make_decode(beam_size=beam, n_best=beam, max_length_ratio=2.0, max_length_offset=1)
        found = search(model, [4, 5], decode)
        assert len(found) == beam
        assert [len(one.pieces) for one in found] == [7] * beam  # 2 * (2 pieces and the end) + 1
        assert all(one.truncated for one in found)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_long_translations_outgrow_the_first_capacity(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    found = search(make_model(end=-100.0), [4, 5], make_decode(beam_size=2), longest=150)
    assert len(found[0].pieces) == 150
    assert found[0].alignment is not None
    assert found[0].alignment.shape == (150, 3)


def test_a_finished_translation_stands_before_one_cut_off(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    model = make_model(vocabulary=12, seed=0)
    found = search(model, [4, 5, 6], make_decode(beam_size=5, n_best=5), longest=5)
    cut_off = [one.truncated for one in found]
    assert cut_off == sorted(cut_off)
    assert len(set(cut_off)) == 2


def test_each_request_may_have_its_own_limits(
    make_model: MakeModel, make_decode: MakeDecode
) -> None:
    engine = Engine(make_model(end=-100.0).stepper, make_decode(beam_size=3))
    engine.admit([Request("a", [4], n_best=3, longest=2), Request("b", [4], longest=5)])
    found = run(engine)
    assert [len(one.pieces) for one in found["a"]] == [2, 2, 2]
    assert [len(one.pieces) for one in found["b"]] == [5]


def test_repetition_is_held_back(make_model: MakeModel, make_decode: MakeDecode) -> None:
    model = make_model(end=-100.0)
    for beam in (1, 3):
        free = search(model, [4, 5], make_decode(beam_size=beam), longest=40)[0].pieces
        assert most_frequent(free, 2) > 2  # a model without training repeats itself
        decode = make_decode(beam_size=beam, no_repeat_ngram=2, max_repeats=2)
        assert most_frequent(search(model, [4, 5], decode, longest=40)[0].pieces, 2) == 2


def most_frequent(pieces: list[int], size: int) -> int:
    grams = [tuple(pieces[i : i + size]) for i in range(len(pieces) - size + 1)]
    return max(grams.count(gram) for gram in grams)


def test_cancelling_what_is_not_there(make_model: MakeModel, make_decode: MakeDecode) -> None:
    engine = Engine(make_model().stepper, make_decode())
    assert not engine.cancel("nobody")
    engine.admit([Request("a", [4, 5])])
    assert engine.cancel("a")
    assert len(engine) == 0
    assert engine.step() == []
    engine.admit([Request("a", [4, 5])])
    assert run(engine).keys() == {"a"}


def test_two_sentences_of_one_name(make_model: MakeModel, make_decode: MakeDecode) -> None:
    engine = Engine(make_model().stepper, make_decode())
    engine.admit([Request("a", [4])])
    with pytest.raises(AssertionError, match="ids are unique in a batch"):
        engine.admit([Request("a", [5])])


SHORTLIST = Shortlist(
    torch.tensor([[-1, -1]] * 4 + [[6, 9], [7, 8], [11, -1], [10, 9]] + [[5, -1]] * 4),
    torch.tensor([4]),
)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_shortlist_is_as_if_the_other_pieces_were_not_there(
    make_model: MakeModel, make_decode: MakeDecode, beam_size: int
) -> None:
    sources = [[4], [5, 5, 7], [8, 9], [6], [], [5, 4]]
    decode = make_decode(beam_size=beam_size, n_best=beam_size, shortlist=True, no_repeat_ngram=2)
    model = make_model(shortlist=SHORTLIST, scale=2.0)
    engine = Engine(model.stepper, decode)
    engine.admit([Request(0, sources[0]), Request(1, sources[1])])
    first = engine.step()
    engine.admit([Request(i, source) for i, source in enumerate(sources[2:], 2)])
    found = {one.id: one.hypotheses for one in first} | run(engine)
    for i, source in enumerate(sources):
        allowed = SHORTLIST.allowed([source])[0]
        without = make_model(scale=2.0)
        weights = without.weights
        weights["output.bias"][~allowed] = -1e9
        stepper = Stepper(without.graph, weights, lambda _: "cpu")
        expected = search(replace(without, stepper=stepper), source, decode)
        assert [one.pieces for one in found[i]] == [one.pieces for one in expected]
        assert {p for one in found[i] for p in one.pieces} <= set(allowed.nonzero()[:, 0].tolist())
        for one, other in zip(found[i], expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_a_shortlist_can_be_left_aside(make_model: MakeModel, make_decode: MakeDecode) -> None:
    decode = make_decode(beam_size=3, shortlist=False)
    narrow, whole = make_model(shortlist=SHORTLIST), make_model()
    for source in ([4], [5, 7]):
        found, expected = search(narrow, source, decode), search(whole, source, decode)
        assert found[0].pieces == expected[0].pieces
        assert found[0].score == expected[0].score
