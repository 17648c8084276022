"""REINFORCE (Williams 1992) with a moving baseline and an entropy bonus.

The learner raises the probability of samples whose reward is above the baseline. The baseline is an
exponential moving average of the rewards, separate for each task, so that one policy can be trained
on many tasks. Advantages are divided by a moving average of their root mean square, so that the
update does not depend on the scale of the rewards.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor, nn

SMALLEST = 1e-8  # avoids division by zero


class Reinforce:
    """Updates the parameters of a policy by Adam."""

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
        self._mean_squares: dict[Hashable, float] = {}

    def baseline(self, task: Hashable) -> float | None:
        """The moving average of a task's rewards; None before the first update."""
        return self._baselines.get(task)

    def update(
        self,
        task: Hashable,
        log_probabilities: Tensor,
        entropies: Tensor,
        rewards: Tensor,
        entropy_weight: float,
    ) -> None:
        """Make one optimizer step from B samples: their log probabilities and the entropies of the
        decisions that led to them, both differentiable, and their rewards, each (B,)."""
        mean = float(rewards.mean())
        before = self._baselines.get(task, mean)
        advantages = rewards - before
        mean_square = float(advantages.square().mean())
        self._baselines[task] = self._decay * before + (1 - self._decay) * mean
        average = self._mean_squares[task] = (
            self._decay * self._mean_squares.get(task, mean_square)
            + (1 - self._decay) * mean_square
        )
        advantages = advantages / (average**0.5 + SMALLEST)
        loss = -(advantages * log_probabilities + entropy_weight * entropies).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
