"""The executor for one process: the reference that the others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from nmt.model.batch import Batch
from nmt.model.context import EVALUATION, ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerStack
from nmt.parallel.executor import Item, Loss, StepResult, TrainingRecipe, Value
from nmt.parallel.trace import Event, Recorder
from nmt.parallel.weights import Weights, WeightsMixin
from nmt.precision.master_weights import MasterWeights


@torch.no_grad()
def mean_loss(
    stack: LayerStack, batches: Iterable[Batch], loss: Loss, device: str | torch.device
) -> float:
    """Mean loss of a target token of a whole model, without dropout."""
    total, tokens = 0.0, 0
    for batch in batches:
        tokens += batch.tokens
        batch = batch.to(device)
        total += float(loss(stack(batch, EVALUATION), batch.labels))
    return total / tokens


class LocalExecutor(WeightsMixin):
    """All layers in this process on one device; micro-batches one after the other."""

    is_main = True

    def __init__(
        self,
        recipe: TrainingRecipe,
        device: str,
        micro_batches: int = 1,
    ) -> None:
        self._device, self._micro_batches = torch.device(device), micro_batches
        self._loss, self._clip_norm = recipe.loss, recipe.clip_norm
        self._validation_loss = recipe.validation_loss
        self._randomness = Randomness(recipe.seed)
        self.recorder = Recorder()
        self._stack = recipe.build(recipe.graph.names).to(device)
        self._masters = MasterWeights(self._stack) if recipe.is_bf16 else None
        self._parameters = (
            self._masters.parameters if self._masters else self._stack.canonical_parameters()
        )
        self._optimizer = recipe.optimizer(list(self._parameters.values()))
        self._weights = Weights([self._parameters], self._optimizer, self._publish)

    def _publish(self) -> None:
        if self._masters:
            self._masters.publish()

    def train_step(
        self, batch: Batch, step: int, learning_rate: float, done: float = 0.0
    ) -> StepResult:
        """One optimizer step on the global batch."""
        tokens = batch.tokens
        self._randomness.begin_step(step)
        for group in self._optimizer.param_groups:
            group |= {"lr": learning_rate, "done": done}
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for i, micro_batch in enumerate(batch.split(self._micro_batches)):
            micro_batch = micro_batch.to(self._device)
            with self.recorder(0, "forward", f"forward {i}"):
                context = ForwardContext.of(micro_batch, self._randomness, 1 / tokens)
                logits = self._stack(micro_batch, context)
                loss = self._loss(logits, micro_batch.labels) / tokens
                self.recorder.wait_for(self._device)
            with self.recorder(0, "backward", f"backward {i}"):
                loss.backward()
                self.recorder.wait_for(self._device)
            total += loss.detach()
        with self.recorder(0, "update", "optimizer"):
            norm = clip_gradients(list(self._parameters.values()), self._clip_norm)
            self._optimizer.step()
            self._publish()
            self.recorder.wait_for(self._device)
        return StepResult.of(total, norm, tokens)

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, without dropout."""
        return mean_loss(self._stack, batches, self._validation_loss, self._device)

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters by canonical name; views."""
        return self._weights.parameters()

    def gather_gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step, after clipping; views."""
        return {name: p.grad for name, p in self._parameters.items() if p.grad is not None}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs; views."""
        return self._weights.state()

    def gather_events(self) -> list[Event]:
        """What has been recorded."""
        return self.recorder.events

    def from_main(self, compute: Callable[[], Value]) -> Value:
        """What `compute` returns: this is the main process."""
        return compute()

    def largest(self, value: int) -> int:
        """The value itself: there is only one process."""
        return value

    def distribute(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Value]]
    ) -> list[Value]:
        """What `compute` returns for the items: there is only one process."""
        return list(compute(items))

    def close(self) -> None:
        """Nothing is held."""


def clip_gradients(parameters: list[nn.Parameter], largest: float | None) -> Tensor:
    """Scale the gradients so that their common norm is at most `largest`; return the norm, a
    scalar on their device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
