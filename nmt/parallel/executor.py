"""What every executor can do. The trainer does not know which one it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nmt.model.batch import Batch
from nmt.parallel.trace import Event, Recorder

# Logits (N, V) and labels (N,) → the sum of the tokens' losses, a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]
OptimizerFactory = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did."""

    loss: float  # mean over the global batch's target tokens
    gradient_norm: float  # of the whole model, before clipping
    tokens: int  # target tokens of the global batch
    seconds: float


class Executor(Protocol):
    """Runs a graph by a plan on one or several processes, which all make the same calls.

    State is a flat dictionary of tensors: `parameter/<name>` and `optimizer/<field>/<name>` under
    canonical parameter names, the same from every executor, so that a run can go on under another.
    """

    @property
    def recorder(self) -> Recorder:
        """Records what this process's devices do in training steps, while it is on."""

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> StepResult:
        """One optimizer step on the global batch. `step` counts from 0 and seeds dropout."""

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, nothing dropped."""

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name, on the main process; empty on the others.
        They may be views: what wants to keep them copies them."""

    def gather_gradients(self) -> dict[str, Tensor]:
        """Likewise the gradients of the last step as they were applied, for tests."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, on the main process; empty on the others."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; every process is given the whole of it."""

    def gather_events(self) -> list[Event]:
        """What all processes have recorded, on the main process; empty on the others."""

    def agree(self, value: float) -> float:
        """The main process's value, on all of them: for decisions that all must take alike."""

    def close(self) -> None:
        """Leave the process group and free what is held."""
