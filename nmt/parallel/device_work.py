"""The forward and backward tasks of one device in one step.

The inputs of a task are detached from the graph that computed them: the outputs of other layers,
and the recurrent state between two chunks of time. Their gradients are passed back explicitly: a
backward task starts from the sum of the gradients of all readers of its output, so gradients are
exact through time and across devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.model.batch import Batch
from nmt.model.context import ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.graph import BATCH, Axis, LayerStack, Node, total
from nmt.model.layer import State, run_layer
from nmt.parallel.executor import TrainingRecipe
from nmt.placement.tasks import ChunkKey, Task, TaskGraph


class Step(NamedTuple):
    """What all devices need to run a step."""

    tasks: TaskGraph
    micro_batches: Sequence[Batch]
    randomness: Randomness | None  # None: validation
    loss_scale: float  # factor of summed losses before the backward pass


class _ForwardRecord(NamedTuple):
    """What a forward task leaves for its backward task."""

    output: Tensor  # with its graph
    state_in: State  # detached
    state_out: State  # with its graph


def chunk_bounds(length: int, chunks: int) -> list[int]:
    """Where the chunks of `length` time steps begin and end, (chunks + 1). Some are empty if there
    are fewer steps than chunks."""
    return [length * i // chunks for i in range(chunks + 1)]


class DeviceWork:
    """Runs the tasks of the layers in `stack`. One step at a time."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        stack: LayerStack,
        device: torch.device,
    ) -> None:
        graph = recipe.graph
        self._nodes = {node.name: node for node in graph.nodes}
        self._last = graph.nodes[-1].name
        self._stack, self._recipe = stack, recipe
        self._device, self._dtype = device, recipe.dtype
        self.losses: list[Tensor] = []

    def begin(self, step: Step) -> None:
        """Start a step."""
        self._step, self._tasks = step, step.tasks
        self._micro_batches = [one.to(self._device) for one in step.micro_batches]
        self._chunk_batches: dict[tuple[Axis, int, int], Batch] = {}
        self._training = step.randomness is not None
        self.losses.clear()
        self.end()

    def end(self) -> None:
        """Release everything of a step but its losses."""
        self._values: dict[ChunkKey, Tensor] = {}  # detached outputs, own and received
        self._wholes: dict[tuple[str, int], Tensor] = {}  # detached, all chunks side by side
        self._received_gradients: dict[ChunkKey, Tensor] = {}  # summed over other devices
        self._records: dict[ChunkKey, _ForwardRecord] = {}
        self._states: dict[ChunkKey, State] = {}  # after a chunk, detached
        self._state_gradients: dict[ChunkKey, list[Tensor | None]] = {}

    # Messages

    def shape(self, key: ChunkKey) -> tuple[int, ...]:
        """Shape of a layer's output for one chunk."""
        first, end = self._steps(key)
        rows = self._micro_batches[key.micro_batch].rows
        return self._nodes[key.layer].output_shape(rows, end - first)

    def put(self, key: ChunkKey, value: Tensor) -> None:
        """Store the output of another device's layer."""
        self._values[key] = value.detach().requires_grad_(self._training)

    def value(self, key: ChunkKey) -> Tensor:
        """The output of one of this device's layers."""
        return self._values[key].detach()

    def put_gradient(self, key: ChunkKey, gradient: Tensor) -> None:
        """Add another device's gradient of the output of one of this device's layers."""
        before = self._received_gradients.get(key)
        self._received_gradients[key] = gradient if before is None else before + gradient

    def take_gradient(self, key: ChunkKey) -> Tensor:
        """The gradient of an output, summed over its readers so far. Releases the output; a layer's
        first chunk must be taken last."""
        layer, m, chunk = key
        parts = [self._values.pop(key).grad, self._received_gradients.pop(key, None)]
        whole = self._wholes.get((layer, m)) if chunk else self._wholes.pop((layer, m), None)
        if whole is not None and whole.grad is not None:
            first, end = self._steps(key)
            parts.append(whole.grad[:, first:end])
        found = [part for part in parts if part is not None]
        return total(found) if found else self._empty(key)

    # Tasks

    def run(self, task: Task) -> None:
        """Run a task. Everything that it reads from other devices must have been put."""
        if task.backward:
            self._backward(task.key)
        else:
            self._forward(task.key)

    def _forward(self, key: ChunkKey) -> None:
        layer, _, chunk = key
        node = self._nodes[layer]
        batch = self._batch(key)
        inputs = [
            batch.field(name.removeprefix(BATCH))
            if name.startswith(BATCH)
            else self._input(node, name, key)
            for name in node.inputs
        ]
        state = self._state_before(key)
        first, end = self._steps(key)
        if first == end:
            self.put(key, self._empty(key))
            self._states[key] = state
            return
        with torch.set_grad_enabled(self._training):
            context = ForwardContext.of(batch, self._step.randomness, self._step.loss_scale)
            output, state_out = run_layer(self._stack.layer(layer), inputs, state, context)
            if layer == self._last:
                training = self._step.randomness is not None
                compute = self._recipe.loss if training else self._recipe.validation_loss
                output = compute(output, batch.labels)
                self.losses.append(output.detach())
                output = output * self._step.loss_scale
        if self._training:
            last_chunk = chunk + 1 == self._tasks.chunks_of(layer)
            self._records[key] = _ForwardRecord(output, state, () if last_chunk else state_out)
        self._states[key] = tuple(s.detach().requires_grad_(self._training) for s in state_out)
        if layer != self._last:
            self.put(key, output)

    def _backward(self, key: ChunkKey) -> None:
        layer, m, chunk = key
        record = self._records.pop(key, None)
        state_gradients = self._state_gradients.pop(key, [])
        if record is None:  # an empty chunk
            self._values.pop(key, None)
            self._received_gradients.pop(key, None)
            self._states.pop(key, None)
            if not chunk:
                self._wholes.pop((layer, m), None)
            self._state_gradients[key.previous] = state_gradients
            return
        gradient = None if layer == self._last else self.take_gradient(key)
        # There is no state in the record if the next chunk, an empty one, is the last.
        pairs = zip(record.state_out, state_gradients, strict=False)
        states = [(state, gradient) for state, gradient in pairs if gradient is not None]
        torch.autograd.backward(
            [record.output, *(state for state, _ in states)],
            [gradient, *(state_gradient for _, state_gradient in states)],
        )
        self._states.pop(key, None)
        self._state_gradients[key.previous] = [state.grad for state in record.state_in]

    def _input(self, node: Node, name: str, key: ChunkKey) -> Tensor:
        """The part of another layer's output that this chunk reads."""
        m = key.micro_batch
        if not self._tasks.reads_all_steps(node.name, name):
            if self._nodes[name].chunkable:
                return self._values[ChunkKey(name, m, key.chunk)]
            value = self._values[ChunkKey(name, m, 0)]
            if not self._nodes[name].has_steps:
                return value
            first, end = self._steps(key)
            return value[:, first:end]
        chunks = self._tasks.chunks_of(name)
        if chunks == 1:
            return self._values[ChunkKey(name, m, 0)]
        whole = self._wholes.get((name, m))
        if whole is None:
            parts = [self._values[ChunkKey(name, m, c)].detach() for c in range(chunks)]
            whole = self._wholes[name, m] = torch.cat(parts, 1).requires_grad_(self._training)
        return whole

    def _empty(self, key: ChunkKey) -> Tensor:
        """The output of a chunk without time steps, or its gradient."""
        shape = self.shape(key)
        assert not shape[1], f"no gradient was received for {key}"
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def _state_before(self, key: ChunkKey) -> State:
        return self._states[key.previous] if key.chunk else ()

    def _batch(self, key: ChunkKey) -> Batch:
        """The part of a micro-batch that a chunk reads."""
        layer, m, chunk = key
        if self._tasks.chunks_of(layer) == 1:
            return self._micro_batches[m]
        axis = self._nodes[layer].axis
        batch = self._chunk_batches.get((axis, m, chunk))
        if batch is None:
            micro_batch, (first, end) = self._step.micro_batches[m], self._steps(key)
            if axis is Axis.SOURCE:
                batch = micro_batch.source_steps(first, end)
            else:
                batch = micro_batch.target_steps(first, end)
            batch = self._chunk_batches[axis, m, chunk] = batch.to(self._device)
        return batch

    def _steps(self, key: ChunkKey) -> tuple[int, int]:
        """The time steps of a chunk: the first, and the one after the last."""
        layer, m, chunk = key
        micro_batch, node = self._micro_batches[m], self._nodes[layer]
        side = micro_batch.source if node.axis is Axis.SOURCE else micro_batch.target_input
        bounds = chunk_bounds(side.shape[1], self._tasks.chunks_of(layer))
        return bounds[chunk], bounds[chunk + 1]
