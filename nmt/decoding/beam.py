"""One step of beam search, as pure functions over scores.

The search is GNMT's: of all continuations of a sentence's K hypotheses, the best 2K by log
probability are looked at. Those among the first K that end the sentence are finished; the best K
that do not end it are continued. With K = 1 this is greedy search.

Ties are broken by the earlier hypothesis, then by the lower piece, so that a translation does not
depend on how a sort happens to order equals.

B sentences, K hypotheses of each, V vocabulary, N = 2K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nmt.kernels import kernels_for
from nmt.model.batch import BOS, EOS, PAD, UNK

NEVER = float("-inf")
BLOCK = 32  # scores; only the maximum of each block is looked at first
FEW = 2**16  # scores; below this, blocks do not pay
assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3), "pieces below EOS are never written"


@dataclass(frozen=True)
class Candidates:
    """Continuations of hypotheses, the best first; each field is (B, N)."""

    scores: Tensor  # log probability of the hypothesis with its new piece
    beams: Tensor  # the hypothesis that is continued
    pieces: Tensor  # its new piece

    def to(self, device: str) -> Candidates:
        """Copied to another device."""
        return Candidates(self.scores.to(device), self.beams.to(device), self.pieces.to(device))


@dataclass(frozen=True)
class Split:
    """Which candidates are finished, and which are continued."""

    finished: Tensor  # (B, N) true where a candidate ends its sentence and ranks among the first K
    continued: Tensor  # (B, K) positions of the candidates that are the next hypotheses


def best_candidates(
    logits: Tensor, running: Tensor, banned: tuple[Tensor, Tensor] | None = None
) -> Candidates:
    """The best 2K continuations of each sentence's hypotheses (the best one if K is 1).

    `logits` (B, K, V) in fp32; `running` (B, K) log probabilities so far, -inf for
    hypotheses that do not exist; `banned` rows (of B * K) and pieces that must not be chosen. The
    logits are written over.
    """
    B, K, V = logits.shape
    if logits.is_cuda:
        places = None if banned is None else banned[0] * V + banned[1]
        return candidates_of_keys(best_keys(logits, running, places), V)
    # Takes half the time of logsumexp. In place is safe: a row is read before it is written.
    scores = torch.log_softmax(logits, -1, out=logits)
    scores[..., :EOS] = NEVER
    if banned is not None:
        scores.view(B * K, V)[banned] = NEVER
    if K == 1:
        best, piece = _largest_one(scores[:, 0])
        return Candidates(best + running, torch.zeros_like(piece), piece)
    scores, places = _largest(scores, running, min(2 * K, K * V))
    return Candidates(scores, places // V, places % V)


def best_keys(logits: Tensor, running: Tensor, banned: Tensor | None) -> Tensor:
    """`best_candidates` for a GPU, without synchronisation: keys (B, N), the best first. `banned`
    are positions in B * K * V; the logits are overwritten.

    A key is one integer: the bits of the negated score, and below them its position. So the lowest
    keys are the best candidates, and no two are equal.
    """
    B, K, V = logits.shape
    count = 1 if K == 1 else min(2 * K, K * V)
    if (own := kernels_for(logits)) is not None:
        found: Tensor = own.best_keys(logits, running, banned, EOS, BLOCK, count)
        return found
    scores = logits.log_softmax(-1)
    scores[..., :EOS] = NEVER
    if banned is not None:
        scores.view(-1).index_fill_(0, banned, NEVER)
    blocks = -(-V // BLOCK)
    keys = torch.empty(B, K, blocks * BLOCK, dtype=torch.int64, device=logits.device)
    keys[..., V:] = torch.iinfo(torch.int64).max
    places, bits = keys[..., :V].view(torch.int32).view(B, K, V, 2).unbind(-1)
    places.copy_(torch.arange(K * V, dtype=torch.int32, device=logits.device).view(K, V))
    # Nonnegative floats are ordered like their bits; 0 - x is never -0.
    torch.sub((0 - running)[..., None], scores, out=bits.view(torch.float32))
    in_blocks = keys.view(B, K * blocks, BLOCK)
    smallest = in_blocks.amin(-1)
    if count == 1:
        return smallest.amin(1, keepdim=True)
    chosen = smallest.topk(min(count, K * blocks), dim=1, largest=False).indices
    few = in_blocks.gather(1, chosen[..., None].expand(-1, -1, BLOCK)).flatten(1)
    return few.topk(count, dim=1, largest=False).values


def candidates_of_keys(keys: Tensor, vocabulary: int) -> Candidates:
    """The candidates that keys (B, N) stand for, on the CPU."""
    numbers = keys.cpu().numpy()  # NumPy has less overhead for small operations
    scores = 0 - (numbers >> 32).astype(np.int32).view(np.float32)
    beams, pieces = np.divmod(numbers & 0xFFFFFFFF, vocabulary)
    return Candidates(*(torch.from_numpy(x) for x in (scores, beams, pieces)))


def split(candidates: Candidates, beams: int) -> Split:
    """Which candidates are finished translations, and which are the next hypotheses."""
    ends = candidates.pieces == EOS
    finished = ends & (candidates.scores > NEVER)
    finished[:, beams:] = False
    continued = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :beams]
    return Split(finished, continued)


def _largest_one(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The first maximum of each row of scores (B, V) → values and positions, each (B, 1). Finding
    its position is slow, so that is done within one block only."""
    B, V = scores.shape
    whole = V - V % BLOCK
    if B * whole < FEW:
        best, place = scores.max(-1, keepdim=True)
        return best, place
    maxima = scores[:, :whole].unflatten(1, (-1, BLOCK)).amax(-1)
    places = maxima.argmax(-1, keepdim=True) * BLOCK + torch.arange(BLOCK)
    best, within = scores.gather(1, places).max(-1, keepdim=True)
    place = places.gather(1, within)
    if whole < V:
        rest, within = scores[:, whole:].max(-1, keepdim=True)
        place = torch.where(rest > best, whole + within, place)
        best = torch.maximum(best, rest)
    return best, place


def _largest(log_p: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of log_p (B, K, V) + offsets (B, K) in each sentence, sorted → values
    and places in K * V, each (B, count)."""
    values, places = _few(log_p, offsets, count)
    some = min(count + 1, values.shape[1])
    top, chosen = values.topk(some)
    tied = top.new_zeros(0, dtype=torch.int64)
    if some > count:
        tied = ((top[:, count - 1] == top[:, count]) & (top[:, count] > NEVER)).nonzero()[:, 0]
    top, places = top[:, :count], places.gather(1, chosen[:, :count])
    order = places.argsort(1)
    top, places = top.gather(1, order), places.gather(1, order)
    order = top.argsort(dim=1, descending=True, stable=True)
    top, places = top.gather(1, order), places.gather(1, order)
    if len(tied):
        top[tied], places[tied] = _largest_stable(log_p[tied], offsets[tied], count)
    return top, places


def _few(log_p: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """A subset of the scores (B, M) that contains the `count` + 1 largest, and its positions in
    K * V.

    Selecting from all K * V scores is slow. The n largest are in the n blocks with the largest
    maxima, and the list of maxima is 32 times shorter.
    """
    B, K, V = log_p.shape
    blocks = V // BLOCK
    if K * blocks <= 4 * count:
        scores = (log_p + offsets[..., None]).view(B, K * V)
        return scores, torch.arange(K * V, device=log_p.device).expand(B, -1)
    whole = blocks * BLOCK
    in_blocks = log_p[..., :whole].view(B, K, blocks, BLOCK)
    maxima = (in_blocks.amax(-1) + offsets[..., None]).view(B, K * blocks)
    chosen = maxima.topk(count + 1).indices  # (B, count + 1)
    starts = chosen // blocks * V + chosen % blocks * BLOCK
    within = torch.arange(BLOCK, device=log_p.device)
    places = (starts[..., None] + within).flatten(1)
    if whole < V:
        rest = torch.arange(K, device=log_p.device)[:, None] * V
        rest = (rest + torch.arange(whole, V, device=log_p.device)).flatten()
        places = torch.cat([places, rest.expand(B, -1)], 1)
    scores = log_p.view(B, K * V).gather(1, places) + offsets.gather(1, places // V)
    return scores, places


def _largest_stable(log_p: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`_largest` for sentences in which several scores equal the last one: lower positions win."""
    scores = (log_p + offsets[..., None]).flatten(1)
    last = scores.topk(count).values[:, -1:]
    wanted = scores > last
    ties = scores == last
    missing = count - wanted.sum(1, keepdim=True)
    wanted |= ties & (ties.cumsum(1) <= missing)
    places = wanted.nonzero()[:, 1].view(-1, count)
    values = scores.gather(1, places)
    order = values.argsort(dim=1, descending=True, stable=True)
    return values.gather(1, order), places.gather(1, order)
