"""Scores of attention: additive ones, v · tanh(q + k), for training and for decoding, and products.

B sentences, T target positions, K hypotheses of a sentence, S source positions, A attention units.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels import kernels_for

# exp(2 * 43) and its inverse are normal numbers of fp32, so that no product of two is 0 * inf.
LARGEST_ENERGY = 43.0
ENERGIES = 2**19  # numbers that attention keeps at a time: 2 MB


def additive_scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Queries (B, T, A), keys (B, S, A), v as a weight (1, A) → (B, T, S). Differentiable."""
    scores: Tensor
    if (gpu := kernels_for(queries)) is not None:
        scores = gpu.additive_scores(queries, keys, weight[0])
    else:
        energies = torch.tanh(queries[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, A)
        scores = F.linear(energies, weight)[..., 0]
    return scores


class StepScores:
    """The same scores in decoding, up to a constant that a softmax does not see.

    v · tanh(q + k) = Σ v - 2 v · 1 / (1 + exp(2 q) exp(2 k)). The exponentials are taken of the
    queries and the keys alone, not of all their sums, of which there are S times as many. (The
    GPU's kernel computes them itself.)
    """

    def __init__(self, weight: Tensor) -> None:
        """`weight` (1, A) is v."""
        self._weight = weight[0].float()
        self.score_weight = -2 * self._weight
        self._one = torch.ones((), device=weight.device)

    def keys(self, keys: Tensor) -> Tensor:
        """Keys (…, A) as scoring reads them at every step; padding may follow as zeros."""
        return keys if kernels_for(keys) is not None else _exponential(keys)

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Queries (B * K, A), keys (B, S, A) as `keys` gives them → (B, K, S) in fp32."""
        B, _, A = keys.shape
        if (gpu := kernels_for(queries)) is not None:
            scores: Tensor = gpu.additive_scores(queries.reshape(B, -1, A), keys, self._weight)
            return scores
        q, keys = _exponential(queries).view(B, -1, 1, A), keys[:, None]
        if q.is_cuda:
            return torch.addcmul(self._one, q, keys).reciprocal_() @ self.score_weight
        K, S = q.shape[1], keys.shape[2]
        # A step's largest tensor by far, made in parts that stay in the caches.
        sentences = min(B, max(1, ENERGIES // (K * S * A)))
        energies, scores = q.new_empty(sentences, K, S, A), q.new_empty(B, K, S)
        for first in range(0, B, sentences):
            part = energies[: min(sentences, B - first)]
            rows = slice(first, first + sentences)
            torch.addcmul(self._one, q[rows], keys[rows], out=part).reciprocal_()
            torch.mv(part.view(-1, A), self.score_weight, out=scores[rows].view(-1))
        return scores


class StepProducts:
    """Scores q · k / √A in decoding."""

    score_weight = None

    def keys(self, keys: Tensor) -> Tensor:
        """Keys (…, A) as scoring reads them at every step; padding may follow as zeros."""
        return keys.float()

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Queries (B * K, A), keys (B, S, A) as `keys` gives them → (B, K, S) in fp32."""
        B, _, A = keys.shape
        scores = torch.bmm(queries.float().reshape(B, -1, A), keys.transpose(1, 2))
        return scores.div_(A**0.5)


def _exponential(x: Tensor) -> Tensor:
    return x.float().clamp(-LARGEST_ENERGY, LARGEST_ENERGY).mul_(2).exp_()
