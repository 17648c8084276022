"""REINFORCE (Williams 1992) with a moving baseline and a bonus for entropy.

A policy samples choices; the learner makes those more likely that were rewarded better than usual.
The baseline is an exponential mean of the rewards, kept apart for each task, so that one policy can
learn from many at once; advantages are divided by their usual size, so that the step does not
depend on the rewards' unit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor, nn

SMALLEST = 1e-8


class Reinforce:
    """Updates a policy's parameters."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        baseline_decay: float = 0.9,
        clip_norm: float = 1.0,
    ) -> None:
        self._parameters = list(parameters)
        self._optimizer = torch.optim.Adam(self._parameters, learning_rate)
        self._decay, self._clip_norm = baseline_decay, clip_norm
        self._baselines: dict[Hashable, float] = {}
        self._sizes: dict[Hashable, float] = {}

    def baseline(self, task: Hashable) -> float | None:
        """The usual reward of a task; None before the first update."""
        return self._baselines.get(task)

    def update(
        self,
        task: Hashable,
        log_probabilities: Tensor,
        entropies: Tensor,
        rewards: Tensor,
        entropy_weight: float,
    ) -> None:
        """One step from B samples: the log probability of each, as a function of the parameters,
        the entropy of the choices on its way, and its reward, each (B,)."""
        mean = float(rewards.mean())
        before = self._baselines.get(task, mean)
        advantages = rewards - before
        size = float(advantages.square().mean())
        self._baselines[task] = self._decay * before + (1 - self._decay) * mean
        usual = self._sizes[task] = (
            self._decay * self._sizes.get(task, size) + (1 - self._decay) * size
        )
        advantages = advantages / (usual**0.5 + SMALLEST)
        loss = -(advantages * log_probabilities + entropy_weight * entropies).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
