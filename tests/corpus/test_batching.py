import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config import BatchConfig
from nmt.corpus.batching import (
    BatchIterator,
    PairBatch,
    apportion,
    ordered_batches,
    split_into_batches,
)
from nmt.corpus.store import SIDES, Statistics, TokenStore
from nmt.errors import CheckpointError, ConfigurationError, CorpusError

Make = Callable[[int, int], TokenStore]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Stores of `count` pairs of random lengths; source row i begins with `start` + i."""

    def store(count: int, start: int = 0) -> TokenStore:
        return write_store(tmp_path / f"{count}-{start}", count, start)

    return store


def write_store(folder: Path, count: int, start: int = 0, longest: int = 30) -> TokenStore:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(count)
    tokens = []
    for side in SIDES:
        lengths = rng.integers(1, longest + 1, count).astype(np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = np.full(int(lengths.sum()), 4, dtype=np.uint32)
        ids[offsets[:-1]] = start + np.arange(count)
        for what, values in (("tokens", ids), ("offsets", offsets), ("lengths", lengths)):
            (folder / f"{side}.{what}").write_bytes(values.tobytes())
        tokens.append(int(lengths.sum()))
    statistics = Statistics(count, count, {}, *tokens)
    meta = {"format": 1, "dtype": "uint32", "statistics": statistics.__dict__}
    (folder / "meta.json").write_text(json.dumps(meta))
    return TokenStore(folder)


def config(
    tokens: int | None = 300, sentences: int | None = None, multiple: int = 4, pool: int = 1000
) -> BatchConfig:
    return BatchConfig(tokens=tokens, sentences=sentences, multiple=multiple, pool=pool)


def names(batch: PairBatch) -> list[int]:
    assert [row[0] for row in batch.source] == [row[0] for row in batch.target]
    return [int(row[0]) for row in batch.source]


def one_pass(batches: BatchIterator, passes: int = 1) -> Iterator[PairBatch]:
    for batch in batches:
        yield batch
        if batch.epoch >= passes:
            return


def width(batch: PairBatch) -> int:
    return 1 + max(len(row) for row in batch.source + batch.target)


@given(st.integers(4, 60), st.integers(1, 8), st.integers(8, 80), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_every_pair_occurs_once_per_pass(count: int, multiple: int, pool: int, seed: int) -> None:
    with TemporaryDirectory() as folder:
        stores = {"a": write_store(Path(folder) / "s", max(count, multiple))}
        size = len(stores["a"])
        batches = BatchIterator(stores, {"a": 2.0}, config(200, None, multiple, pool), seed)
        seen: list[int] = []
        # Pools may span two passes: they meet again after as many passes as there are pairs in one.
        pools_end = math.lcm(min(pool, size), size)
        while len(seen) < pools_end:
            batch = next(batches)
            seen += names(batch)
            assert batch.epoch == pytest.approx(len(seen) / size)
        assert set(Counter(seen).values()) == {pools_end // size}


def test_a_pass_in_pools_has_each_pair_once(make: Make) -> None:
    batches = BatchIterator({"a": make(100, 0)}, {"a": 1.0}, config(pool=20), seed=1)
    for _ in range(3):
        seen: list[int] = []
        while len(seen) < 100:
            seen += names(next(batches))
        assert sorted(seen) == list(range(100))


@given(
    st.lists(st.integers(2, 60), min_size=8, max_size=300),
    st.integers(1, 8),
    st.integers(20, 400),
)
def test_budget_and_multiple_are_kept(lengths: list[int], multiple: int, budget: int) -> None:
    longest = np.sort(np.array(lengths))
    batches = split_into_batches(longest, config(budget, None, multiple))
    assert batches[0][0] == 0
    assert batches[-1][1] == len(longest)
    assert all(a[1] == b[0] for a, b in pairwise(batches))
    for i, (first, end) in enumerate(batches):
        rows, extra = end - first, len(longest) % multiple if i == 0 else 0
        assert (rows - extra) % multiple == 0
        assert rows >= multiple
        assert rows * longest[end - 1] <= budget or rows == multiple + extra
        if end + multiple <= len(longest):  # and no smaller than they need be
            assert (rows + multiple) * longest[end + multiple - 1] > budget


def test_the_budget_counts_the_larger_side_with_eos(make: Make) -> None:
    batches = BatchIterator({"a": make(1000, 0)}, {"a": 1.0}, config(tokens=400), seed=3)
    rows = []
    for batch in one_pass(batches):
        assert len(batch.source) * width(batch) <= 400
        rows.append(len(batch.source))
    assert all(count % 4 == 0 for count in rows)
    assert len(set(rows)) > 3


def test_a_sentence_longer_than_the_budget_still_comes(make: Make) -> None:
    batches = BatchIterator({"a": make(40, 0)}, {"a": 1.0}, config(tokens=10), seed=3)
    assert {len(batch.source) for batch in one_pass(batches)} == {4}


def test_a_fixed_number_of_sentences(make: Make) -> None:
    batches = BatchIterator({"a": make(101, 0)}, {"a": 1.0}, config(None, 8), seed=3)
    counts = Counter(len(batch.source) for batch in one_pass(batches))
    assert set(counts) <= {4, 5, 8, 9}
    assert counts[8] >= 11
    assert sum(rows * count for rows, count in counts.items()) == 101


def test_batches_hold_similar_lengths_in_random_order(make: Make) -> None:
    batches = BatchIterator({"a": make(1000, 0)}, {"a": 1.0}, config(), seed=3)
    passes = [list(one_pass(batches)), list(one_pass(batches, 2))]
    for some in passes:
        lengths = [len(row) for batch in some for row in batch.target]
        padded = sum(len(b.target) * max(len(row) for row in b.target) for b in some)
        assert sum(lengths) / padded > 0.9
        widths = [len(batch.target[0]) for batch in some]
        assert widths != sorted(widths)
    assert [names(batch) for batch in passes[0]] != [names(batch) for batch in passes[1]]


def test_the_seed_gives_the_batches(make: Make) -> None:
    def first(seed: int) -> list[list[int]]:
        batches = BatchIterator({"a": make(300, 0)}, {"a": 1.0}, config(pool=80), seed)
        return [names(next(batches)) for _ in range(30)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_weights_are_kept(make: Make) -> None:
    stores = {"small": make(50, 0), "large": make(900, 10_000), "rare": make(50, 20_000)}
    weights = {"small": 3.0, "large": 1.0, "rare": 0.004}
    batches = BatchIterator(stores, weights, config(pool=100), seed=1)
    drawn: Counter[str] = Counter()
    for pool in range(1, 40):
        while sum(drawn.values()) < 100 * pool:
            for number in names(next(batches)):
                drawn[("small", "large", "rare")[number // 10_000]] += 1
        for name, weight in weights.items():
            assert abs(drawn[name] - 100 * pool * weight / 4.004) <= 1
    assert drawn["rare"] == 4


@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=6), st.integers(1, 50), st.integers(1, 40)
)
def test_shares_stay_within_one_pair(weights: list[float], size: int, pools: int) -> None:
    shares = np.array(weights) / sum(weights)
    drawn = np.zeros(len(weights), dtype=np.int64)
    for pool in range(1, pools + 1):
        counts = apportion(size, shares, drawn)
        assert counts.sum() == size
        assert (counts >= 0).all()
        drawn = drawn + counts
        assert (np.abs(drawn - shares * size * pool) < len(weights)).all()


def test_a_corpus_ahead_of_its_share_is_waited_for() -> None:
    counts = apportion(2, np.full(4, 0.25), np.array([0, 6, 6, 6]))
    assert counts.tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("pool", [60, 1000])
@pytest.mark.parametrize("stop", [0, 1, 7, 23, 60])
def test_resuming_goes_on_with_the_next_batch(make: Make, pool: int, stop: int) -> None:
    stores = {"b": make(150, 0), "a": make(70, 5000)}

    def batches(seed: int = 5) -> BatchIterator:
        return BatchIterator(stores, {"a": 1.0, "b": 2.5}, config(pool=pool), seed)

    whole = batches()
    for _ in range(stop):
        next(whole)
    state = json.loads(json.dumps(whole.state_dict()))
    resumed = batches()
    next(resumed)
    resumed.load_state_dict(state)
    assert resumed.epoch == whole.epoch
    for _ in range(50):
        expected, got = next(whole), next(resumed)
        assert names(got) == names(expected)
        assert got.epoch == expected.epoch
    assert resumed.state_dict() == whole.state_dict()


def test_the_order_of_the_corpora_does_not_matter(make: Make) -> None:
    a, b = make(60, 0), make(70, 5000)
    one = BatchIterator({"a": a, "b": b}, {"a": 1.0, "b": 2.0}, config(), 1)
    two = BatchIterator({"b": b, "a": a}, {"b": 2.0, "a": 1.0}, config(), 1)
    assert [names(next(one)) for _ in range(9)] == [names(next(two)) for _ in range(9)]


def test_other_data_cannot_be_resumed(make: Make) -> None:
    def batches(
        count: int = 60, weight: float = 1.0, tokens: int = 300, seed: int = 1
    ) -> BatchIterator:
        stores = {"a": make(count, 0), "b": make(70, 5000)}
        return BatchIterator(stores, {"a": weight, "b": 1.0}, config(tokens), seed)

    state = batches().state_dict()
    batches().load_state_dict(state)
    others = {
        "size of the training data": batches(count=61),
        "mix of the training data": batches(weight=2.0),
        "setting of `data.batch`": batches(tokens=301),
        "seed": batches(seed=2),
    }
    for what, other in others.items():
        with pytest.raises(
            CheckpointError, match=f"^The {what} must be as in the checkpoint .*, but is .* instead"
        ):
            other.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"checkpoint \(1\), but is 2 instead; restore it"):
        others["seed"].load_state_dict(state)


def test_too_few_pairs(make: Make) -> None:
    with pytest.raises(CorpusError, match=r"at least 8 pairs .*, but has 5 instead; give more"):
        BatchIterator({"a": make(5, 0)}, {"a": 1.0}, config(multiple=8), 1)


def test_sentences_must_fit_the_multiple(make: Make) -> None:
    with pytest.raises(
        ConfigurationError, match=r"`data.batch.sentences` must be a multiple .*8\), but is 12"
    ):
        BatchIterator({"a": make(50, 0)}, {"a": 1.0}, config(None, 12, multiple=8), 1)


def test_the_pool_must_hold_a_batch(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"`data.batch.pool` must be at least .*8\)"):
        BatchIterator({"a": make(50, 0)}, {"a": 1.0}, config(multiple=8, pool=5), 1)


def test_ordered_batches_cover_the_list(make: Make) -> None:
    store = make(23, 0)
    source = [store.source(i) for i in range(23)]
    target = [store.target(i) for i in range(23)]
    batches = list(ordered_batches(source, target, 5))
    assert [len(batch.places) for batch in batches] == [5, 5, 5, 5, 3]
    assert sorted(i for batch in batches for i in batch.places) == list(range(23))
    for batch in batches:
        assert [int(row[0]) for row in batch.source] == batch.places
        assert [int(row[0]) for row in batch.target] == batch.places
    lengths = [len(row) for batch in batches for row in batch.target]
    assert lengths == sorted(lengths, reverse=True)
