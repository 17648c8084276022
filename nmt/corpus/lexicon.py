"""Translation probabilities of pieces: IBM model 1 (Brown et al. 1993), learnt by EM.

Each target piece has the probability p(target | source) = mean over the source's pieces of
t(target piece | source piece), independently of the others. A source has the end of the sentence as
one more piece, which accounts for target pieces that no other explains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Lexicon:
    """Pairs of pieces that occur together, ordered by source piece, then by falling probability."""

    sources: Ids  # (P,)
    targets: Ids  # (P,)
    probabilities: NDArray[np.float64]  # (P,) of the target, given the source

    @classmethod
    def learn(
        cls,
        pairs: Iterable[tuple[np.ndarray, np.ndarray]],
        vocabulary: int,
        end: int,
        iterations: int = 5,
    ) -> Lexicon:
        """From the pieces of sentence pairs, without special ones; `end` closes every source."""
        keys, lengths = [], []
        for source, target in pairs:
            with_end = np.append(source.astype(np.int64), end)
            keys.append((with_end[None, :] * vocabulary + target[:, None]).ravel())
            lengths.append(np.full(len(target), len(with_end)))
        # One entry for each target piece and each source piece that it may be a translation of.
        known, entries = np.unique(np.concatenate(keys), return_inverse=True)
        spans = np.concatenate(lengths)
        starts = np.cumsum(spans) - spans
        sources, targets = known // vocabulary, known % vocabulary
        t = np.ones(len(known))
        for _ in range(iterations):
            share = t[entries]
            share /= np.repeat(np.add.reduceat(share, starts), spans)
            counts = np.bincount(entries, weights=share, minlength=len(known))
            t = counts / np.bincount(sources, weights=counts, minlength=vocabulary)[sources]
        order = np.lexsort((targets, -t, sources))
        return cls(sources[order], targets[order], t[order])

    def best(self, source: int, count: int) -> Ids:
        """The `count` most probable translations of a piece, or fewer, the most probable first."""
        first, last = np.searchsorted(self.sources, [source, source + 1])
        return self.targets[first : min(last, first + count)]
