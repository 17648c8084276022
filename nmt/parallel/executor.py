"""What every executor is given and can do. The trainer does not know which one it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from nmt.model.batch import Batch
from nmt.model.graph import LayerGraph, LayerStack
from nmt.parallel.trace import Event, Recorder

# Logits (N, V) and labels (N,) → the sum of the tokens' losses, a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]
Item = TypeVar("Item")
Value = TypeVar("Value")
OptimizerFactory = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class TrainingRecipe:
    """A model and how it is trained: what does not depend on the executor."""

    graph: LayerGraph
    seed: int  # of the initial weights and of dropout
    loss: Loss
    validation_loss: Loss
    optimizer: OptimizerFactory
    clip_norm: float | None  # largest norm of the whole model's gradient; None: no clipping
    dtype: torch.dtype = torch.float32  # of the layers' work
    averaged: bool = False  # whether a running average of the weights is kept

    @property
    def is_bf16(self) -> bool:
        """Whether layers compute with rounded copies of fp32 parameters."""
        return self.dtype == torch.bfloat16

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Of the parameters that the optimizer updates."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def build(self, layers: Iterable[str]) -> LayerStack:
        """Some layers of the graph with their initial weights."""
        return self.graph.build(layers, self.seed, self.parameter_dtype)


@dataclass(frozen=True)
class StepResult:
    """The loss and the gradient's norm of one optimizer step.

    A GPU may still be computing them: reading them waits for this step, but not for later ones.
    """

    totals: Tensor  # (2,) fp64 on the CPU: the loss and the norm
    tokens: int  # target tokens of the global batch
    done: torch.cuda.Event | None = None  # recorded after `totals` are copied; None: they are there

    @classmethod
    def of(cls, loss: float | Tensor, gradient_norm: float | Tensor, tokens: int) -> StepResult:
        """From numbers, or scalars on one device."""
        both = (loss, gradient_norm)
        totals = torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in both])
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

    State is a flat dictionary of tensors under canonical names, the same from every executor, so
    that a run can be resumed under another one: see `nmt.parallel.state`.
    """

    @property
    def recorder(self) -> Recorder:
        """Records what this process's devices do in training steps, while it is on."""

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""

    def train_step(
        self, batch: Batch, step: int, learning_rate: float, done: float = 0.0
    ) -> StepResult:
        """One optimizer step on the global batch. `step` counts from 0 and seeds dropout; `done`
        is the fraction of the run that is done, for optimizers that go by it."""

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, without dropout."""

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name, on the main process; empty on the others.
        They may be views: whoever keeps them copies them."""

    def gather_gradients(self) -> dict[str, Tensor]:
        """Likewise the gradients of the last step as they were applied, for tests."""

    def update_average(self, decay: float) -> None:
        """Take the parameters into their exponential mean as they are now: in fp32, each process
        its own."""

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated; the same on all processes."""

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters: they are what is gathered, and
        what the validation loss is of. No training step is allowed inside."""

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, the same with values by canonical name; every process is given all of them."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, the average included, on the main process; empty on
        the others."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state; every process is given all of it."""

    def gather_events(self) -> list[Event]:
        """What all processes have recorded, on the main process; empty on the others."""

    def from_main(self, compute: Callable[[], Value]) -> Value:
        """What `compute` returns on the main process, on all of them, once it is done there. The
        others do not call it.

        Raises:
            NmtError: what it raised there, on all processes.
        """

    def largest(self, value: int) -> int:
        """The largest value of all processes, on all of them."""

    def distribute(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Value]]
    ) -> list[Value]:
        """Call `compute` on all processes, each with its share of the items, for a value for each
        → all values in the items' order on the main process; empty on the others.

        Raises:
            NmtError: what it raised on any process, on all of them.
        """

    def close(self) -> None:
        """Leave the process group and free what is held."""
