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
    """What one optimizer step did.

    A GPU may still be at it: the loss and the norm are on their way, and reading them waits for
    this step, but not for later ones.
    """

    totals: Tensor  # (2,) fp64 on the CPU: the loss and the norm
    tokens: int  # target tokens of the global batch
    done: torch.cuda.Event | None = None  # None: they are there

    @classmethod
    def of(cls, loss: float | Tensor, gradient_norm: float | Tensor, tokens: int) -> StepResult:
        """From numbers, or scalars on one device."""
        both = (loss, gradient_norm)
        totals = torch.stack([torch.as_tensor(one, dtype=torch.float64) for one in both])
        if not totals.is_cuda:
            return cls(totals, tokens)
        done, stream = torch.cuda.Event(), torch.cuda.current_stream(totals.device)
        totals = totals.to("cpu", non_blocking=True)
        done.record(stream)
        return cls(totals, tokens, done)

    @property
    def loss(self) -> float:
        """Mean over the global batch's target tokens."""
        return self._read()[0]

    @property
    def gradient_norm(self) -> float:
        """Of the whole model, before clipping."""
        return self._read()[1]

    def _read(self) -> list[float]:
        if self.done is not None:
            self.done.synchronize()
        values: list[float] = self.totals.tolist()
        return values


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
