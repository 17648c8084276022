"""Corrections of a hypothesis' score: length and coverage penalties (GNMT, section 7), and a ban on
repetition.

R hypotheses, S source positions, C capacity of the histories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_NOTHING = torch.empty(0, dtype=torch.int64)
UNSEEN = 1e-10  # lower bound of a position's attention: log 0 would outweigh everything


@dataclass(frozen=True)
class LengthPenalty:
    """GNMT's lp(Y) = ((5 + |Y|) / 6) ** alpha, by which log P(Y | X) is divided."""

    alpha: float

    def __call__(self, length: int) -> float:
        """|Y|, the number of pieces with the end of the sentence → lp(Y)."""
        return float(((5 + length) / 6) ** self.alpha)


@dataclass(frozen=True)
class CoveragePenalty:
    """GNMT's cp(X, Y) = beta * sum_i log(min(sum_j p_ij, 1)): never positive, 0 where every source
    position was fully attended to."""

    beta: float

    def __call__(self, attended: Tensor, lengths: Tensor) -> Tensor:
        """Sums of attention over the target (R, S), source lengths (R,) → (R,)."""
        outside = torch.arange(attended.shape[1], device=attended.device) >= lengths[:, None]
        logs = attended.clamp(UNSEEN, 1).log()
        return self.beta * logs.masked_fill(outside, 0).sum(1)


@dataclass(frozen=True)
class RepetitionGuard:
    """No n-gram of `size` pieces occurs more than `most` times; 0: no guard.

    If the source itself repeats an n-gram more often (a row of zeros, a dashed line), the limit is
    the source's count, so that it can be copied.
    """

    size: int
    most: int

    def limit(self, source: Sequence[int]) -> int:
        """How often an n-gram may occur in the translation of `source`."""
        if self.size == 0:
            return self.most
        shifted = [source[i:] for i in range(self.size)]
        return max([self.most, *Counter(zip(*shifted, strict=False)).values()])

    def banned(self, pieces: Tensor, lengths: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """The pieces that would complete an n-gram once too often.

        Histories (R, C), how much of each is written (R,), limits (R,) → rows and pieces (N,),
        a pair for each ban.
        """
        # NumPy has far less overhead than PyTorch for the few small operations of each step.
        n, ids, ends, most = self.size, pieces.numpy(), lengths.numpy(), limits.numpy()
        windows = int(ends.max(initial=0)) - n + 1  # n-grams written by the longest hypothesis
        if n == 0 or windows < self.most:
            return _NOTHING, _NOTHING
        same = np.arange(windows)[None, :] <= (ends - n)[:, None]  # (R, windows)
        every = np.arange(len(ids))
        rows = np.nonzero(same.sum(1) >= most)[0]
        for k in reversed(
            range(n - 1)
        ):  # stops at the first piece that has not occurred often enough
            last = ids[every, np.maximum(ends - n + 1 + k, 0)]
            same &= ids[:, k : k + windows] == last[:, None]
            rows = np.nonzero(same.sum(1) >= most)[0]
            if len(rows) == 0:
                return _NOTHING, _NOTHING
        owners, starts = np.nonzero(same[rows])
        owners = rows[owners]
        counts = Counter(zip(owners.tolist(), ids[owners, starts + n - 1].tolist(), strict=True))
        over = [pair for pair, count in counts.items() if count >= most[pair[0]]]
        bans = torch.tensor(over, dtype=torch.int64).view(-1, 2)
        return bans[:, 0], bans[:, 1]
