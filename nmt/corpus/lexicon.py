"""Translation probabilities of pieces by IBM model 1 (Brown et al. 1993), learnt by EM.

The probability of a target piece, independent of the other target pieces, is the mean of
t(target piece | source piece) over the pieces of the source. EOS is one of the source pieces, and
accounts for target pieces that no other source piece explains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Lexicon:
    """The P pairs of pieces that occur together, by source piece, then by decreasing
    probability."""

    sources: Ids  # (P,)
    targets: Ids  # (P,)
    probabilities: NDArray[np.float64]  # (P,) t(target piece | source piece)

    @classmethod
    def learn(
        cls,
        pairs: Iterable[tuple[np.ndarray, np.ndarray]],
        vocabulary: int,
        end: int,
        iterations: int = 5,
    ) -> Lexicon:
        """Learn a lexicon from sentence pairs of piece ids below `vocabulary`, without special
        pieces. `end` is the id of EOS, which is appended to every source."""
        keys, lengths = [], []
        for source, target in pairs:
            with_end = np.append(source.astype(np.int64), end)
            keys.append((with_end[None, :] * vocabulary + target[:, None]).ravel())
            lengths.append(np.full(len(target), len(with_end)))
        # One entry for each target piece of a pair and each source piece that it may translate.
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
        """At most `count` translations of a source piece, the most probable first."""
        first, last = np.searchsorted(self.sources, [source, source + 1])
        return self.targets[first : min(last, first + count)]
