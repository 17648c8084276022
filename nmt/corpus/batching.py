"""Endless random batches of sentence pairs of similar length.

Training pairs are drawn at random into a pool, sorted by length and split into batches by a budget,
and the batches are shuffled. The seed and the position determine all of it, so that an interrupted
run resumes with exactly the batch that would have come next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.config import BatchConfig
from nmt.corpus.store import TokenStore
from nmt.errors import CheckpointError, ConfigurationError, CorpusError

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PairBatch:
    """Sentence pairs for one optimizer step, as ids of pieces without special ones."""

    source: list[np.ndarray]
    target: list[np.ndarray]
    epoch: float  # epochs done at the end of this batch


@dataclass(frozen=True)
class OrderedBatch:
    """Sentence pairs with their positions in the lists that they come from."""

    places: list[int]
    source: list[np.ndarray]
    target: list[np.ndarray]


@dataclass(frozen=True)
class _Pool:
    """Pairs drawn together, sorted by length. Pair j is row `row[j]` of corpus `corpus[j]`; a batch
    is a range (first, end) of pairs."""

    corpus: Integers
    row: Integers
    batches: list[tuple[int, int]]


class BatchIterator:
    """Endless training batches from several corpora, mixed by weight.

    Each epoch of a corpus visits every pair once, in a new random order. The number of rows of a
    batch is a multiple of `config.multiple`; if the size of a pool is not a multiple, its batch of
    the shortest pairs also takes the remaining rows. The size of a batch, which is limited by
    `config.tokens`, is its number of rows × the length of the longest row of either side, EOS
    included; only a batch with the smallest possible number of rows may exceed the limit.
    """

    def __init__(
        self,
        stores: Mapping[str, TokenStore],
        weights: Mapping[str, float],
        config: BatchConfig,
        seed: int,
    ) -> None:
        assert stores.keys() == weights.keys(), "each corpus has one weight"
        self._names = sorted(stores)  # independent of the order in the configuration
        self._stores = [stores[name] for name in self._names]
        shares = np.array([weights[name] for name in self._names], dtype=np.float64)
        self._shares = shares / shares.sum()
        self._config = config
        self._seed = seed
        self._pairs = sum(len(store) for store in self._stores)
        self._size = min(config.pool, self._pairs)
        self._check()
        self._orders: dict[int, tuple[int, Integers]] = {}  # corpus → (epoch, order of its pairs)
        self._start(0, np.zeros(len(self._stores), dtype=np.int64))

    @property
    def epoch(self) -> float:
        """Epochs done so far, over all corpora together."""
        return (self._number * self._size + self._rows) / self._pairs

    def __iter__(self) -> Iterator[PairBatch]:
        return self

    def __next__(self) -> PairBatch:
        if self._position == len(self._pool.batches):
            self._start(self._number + 1, self._drawn + self._counts)
        first, end = self._pool.batches[self._position]
        self._position += 1
        self._rows += end - first
        pairs = [
            (self._stores[corpus], row)
            for corpus, row in zip(
                self._pool.corpus[first:end].tolist(),
                self._pool.row[first:end].tolist(),
                strict=True,
            )
        ]
        return PairBatch(
            [store.source(row) for store, row in pairs],
            [store.target(row) for store, row in pairs],
            self.epoch,
        )

    def state_dict(self) -> dict[str, Any]:
        """The position as plain values for JSON, which determines all batches that follow."""
        return {
            "pool": self._number,
            "drawn": self._drawn.tolist(),
            "batch": self._position,
            "data": self._identity(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume at a position of `state_dict`.

        Raises:
            CheckpointError: the position is one in other data.
        """
        for name, value in self._identity().items():
            if (saved := state["data"][name]) != value:
                raise CheckpointError(
                    f"The {name} must be as in the checkpoint ({saved}), but is {value} instead; "
                    "restore it, or start a new run."
                )
        self._start(state["pool"], np.array(state["drawn"], dtype=np.int64))
        self._position = state["batch"]
        self._rows = sum(end - first for first, end in self._pool.batches[: self._position])

    def _check(self) -> None:
        multiple, sentences = self._config.multiple, self._config.sentences
        if sentences is not None and sentences % multiple:
            raise ConfigurationError(
                [
                    f"`data.batch.sentences` must be a multiple of `data.batch.multiple` "
                    f"({multiple}), but is {sentences} instead."
                ]
            )
        if self._config.pool < multiple:
            raise ConfigurationError(
                [
                    f"`data.batch.pool` must be at least `data.batch.multiple` ({multiple}), "
                    f"but is {self._config.pool} instead."
                ]
            )
        if self._pairs < multiple:
            raise CorpusError(
                f"The training data must have at least {multiple} pairs (`data.batch.multiple`), "
                f"but has {self._pairs} instead; give more, or lower the multiple."
            )

    def _identity(self) -> dict[str, Any]:
        return {
            "size of the training data": {
                name: [len(store), store.statistics.source_tokens, store.statistics.target_tokens]
                for name, store in zip(self._names, self._stores, strict=True)
            },
            "mix of the training data": self._shares.tolist(),
            "setting of `data.batch`": self._config.model_dump(),
            "seed": self._seed,
        }

    def _start(self, number: int, drawn: Integers) -> None:
        """Draw pool `number`. `drawn` is the number of pairs of each corpus in earlier pools."""
        self._number, self._drawn = number, drawn
        self._counts = apportion(self._size, self._shares, drawn)
        self._pool = self._draw()
        self._position = self._rows = 0

    def _draw(self) -> _Pool:
        rows = [self._next_rows(k, int(count)) for k, count in enumerate(self._counts)]
        source = [s.source_lengths[r] for s, r in zip(self._stores, rows, strict=True)]
        target = [s.target_lengths[r] for s, r in zip(self._stores, rows, strict=True)]
        source_lengths, target_lengths = np.concatenate(source), np.concatenate(target)
        # A number that no corpus has makes this stream independent of the corpora's orders.
        generator = _generator(self._seed, len(self._stores), self._number)
        tie = generator.permutation(self._size)
        order = np.lexsort((tie, source_lengths, target_lengths))
        longest = np.maximum(source_lengths, target_lengths)[order] + 1
        batches = split_into_batches(longest, self._config)
        generator.shuffle(batches)
        corpus = np.repeat(np.arange(len(rows)), self._counts)
        return _Pool(corpus[order], np.concatenate(rows)[order], batches)

    def _next_rows(self, k: int, count: int) -> Integers:
        """The rows of the next `count` pairs of corpus k, which may span several epochs."""
        size, place = len(self._stores[k]), int(self._drawn[k])
        parts = [np.zeros(0, dtype=np.int64)]
        while count:
            number, first = divmod(place, size)
            part = self._order(k, number)[first : first + count]
            parts.append(part)
            place += len(part)
            count -= len(part)
        return np.concatenate(parts)

    def _order(self, k: int, number: int) -> Integers:
        if k not in self._orders or self._orders[k][0] != number:
            order = _generator(self._seed, k, number).permutation(len(self._stores[k]))
            self._orders[k] = number, order
        return self._orders[k][1]


def apportion(size: int, shares: NDArray[np.float64], drawn: Integers) -> Integers:
    """The number of the next `size` pairs that come from each corpus, so that the numbers of all
    pairs drawn stay as close to `shares` as integers can (largest remainder method).
    """
    wanted = shares * (drawn.sum() + size) - drawn
    counts: Integers = np.maximum(np.floor(wanted), 0).astype(np.int64)
    while missing := size - int(counts.sum()):  # at most as many as there are corpora
        need = wanted - counts
        if missing > 0:
            counts[np.argmax(need)] += 1
        else:  # if a corpus is ahead of its share, the others' floors sum to more than `size`
            counts[np.argmin(np.where(counts > 0, need, np.inf))] -= 1
    return counts


def split_into_batches(longest: NDArray[Any], config: BatchConfig) -> list[tuple[int, int]]:
    """Split rows, sorted by length, into batches (first, end). `longest` (rows,) has the length of
    the longer side of each row.

    The first batch takes the rows beyond a multiple, since a few more of the shortest rows cost
    least.
    """
    multiple, rows = config.multiple, len(longest)
    starts = np.arange(rows % multiple, rows, multiple)
    starts[0] = 0
    widths = np.maximum.reduceat(longest, starts).tolist()
    ends = [*starts[1:].tolist(), rows]
    batches, first, last, width = [], 0, 0, 0
    for end, block_width in zip(ends, widths, strict=True):
        wider = max(width, block_width)
        if last > first and not _fits(end - first, wider, config):
            batches.append((first, last))
            first, wider = last, block_width
        last, width = end, wider
    return [*batches, (first, last)]


def ordered_batches(
    source: Sequence[np.ndarray], target: Sequence[np.ndarray], sentences: int
) -> Iterator[OrderedBatch]:
    """All pairs once, `sentences` at a time, for validation. The longest come first, so that a lack
    of memory shows at the start.
    """
    places = sorted(
        range(len(source)), key=lambda i: (len(target[i]), len(source[i])), reverse=True
    )
    for first in range(0, len(places), sentences):
        chosen = places[first : first + sentences]
        yield OrderedBatch(chosen, [source[i] for i in chosen], [target[i] for i in chosen])


def _fits(rows: int, longest: int, config: BatchConfig) -> bool:
    if config.tokens is not None:
        return rows * longest <= config.tokens
    assert config.sentences is not None
    return rows <= config.sentences


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
