"""The executor for any placement of layers, pipelined along the batch and along time.

Every device works through its own ordered list of forward and backward tasks (`nmt.placement`).
Its process posts receives early and does not wait for sends, so that messages travel while it
works. One process drives one device, or a single one all of them (`nmt.parallel.topology`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nmt.model.batch import Batch
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerGraph, total
from nmt.parallel import group
from nmt.parallel.device_work import DeviceWork, Step
from nmt.parallel.executor import StepResult, TrainingRecipe
from nmt.parallel.measure import layers_of
from nmt.parallel.program import Program, work_factors
from nmt.parallel.state import owned_part
from nmt.parallel.topology import Topology
from nmt.parallel.trace import Event, Recorder
from nmt.parallel.weights import Weights, WeightsMixin
from nmt.placement.plan import Plan
from nmt.placement.tasks import Task, TaskGraph, check_orders
from nmt.precision.master_weights import MasterWeights


class WavefrontExecutor(group.GroupMember, WeightsMixin):
    """Runs a plan on as many processes as it has devices, times `replicas`, or on `replicas` alone.

    The global batch is split into replicas × micro-batches, as `LocalExecutor` splits it into that
    many; replica r has the r-th run of them.

    Raises:
        PlanError: the plan is not for this graph or this number of processes, or would deadlock.
    """

    def __init__(self, recipe: TrainingRecipe, plan: Plan, replicas: int = 1) -> None:
        graph = recipe.graph
        plan.validate_against(graph.name, graph.names)
        self._plan, self._clip_norm = plan, recipe.clip_norm
        self._randomness = Randomness(recipe.seed)
        self.recorder = Recorder()
        self._make_programs(graph)
        self._topology = Topology.join(plan, replicas)
        self._messenger, self._streams = group.messenger(), self._topology.streams()
        self._make_layers(recipe)
        links = [*self._program.traffic.links, *self._validation.traffic.links]
        self._exchange = self._topology.exchange(links, recipe.dtype)
        self._ties = self._topology.ties(graph)
        self._replica_groups = self._topology.replica_groups()
        own = list(self._parameters.values())
        self._optimizer = recipe.optimizer([p for parameters in own for p in parameters.values()])
        self._weights = Weights(own, self._optimizer, self._publish)

    def _make_programs(self, graph: LayerGraph) -> None:
        """What the devices do in training and in validation."""
        plan, layers = self._plan, layers_of(graph)
        tasks, orders = TaskGraph(layers, plan.micro_batches, plan.chunks), plan.orders(layers)
        # A plan may bring any order; those that are made for a batch cannot deadlock.
        check_orders(tasks, plan.placement, orders)
        self._layers, self._program = layers, Program(tasks, plan.placement, orders)
        validation = TaskGraph(layers, plan.micro_batches, 1, training=False)
        self._validation = Program(validation, plan.placement, plan.forward_orders(layers))

    def _make_layers(self, recipe: TrainingRecipe) -> None:
        """The layers of the devices that this process drives, and what runs them."""
        self._works: dict[int, DeviceWork] = {}
        self._masters: dict[int, MasterWeights] = {}
        self._parameters: dict[int, Mapping[str, nn.Parameter]] = {}
        for device in self._topology.own:
            where = self._topology.devices[device]
            names = [n for n in recipe.graph.names if self._plan.placement[n] == device]
            stack = recipe.build(names).to(where)
            self._parameters[device] = stack.canonical_parameters()
            if recipe.is_bf16:
                self._masters[device] = MasterWeights(stack)
                self._parameters[device] = self._masters[device].parameters
            self._works[device] = DeviceWork(recipe, stack, where)

    def _publish(self) -> None:
        for masters in self._masters.values():
            masters.publish()

    # Steps

    def train_step(
        self, batch: Batch, step: int, learning_rate: float, done: float = 0.0
    ) -> StepResult:
        """One optimizer step on the global batch."""
        tokens = batch.tokens
        self._randomness.begin_step(step)
        for settings in self._optimizer.param_groups:
            settings |= {"lr": learning_rate, "done": done}
        self._optimizer.zero_grad(set_to_none=True)
        M, place = self._plan.micro_batches, self._topology
        everything = batch.split(place.replicas * M)
        micro_batches = everything[place.replica * M : (place.replica + 1) * M]
        program = self._program_for(micro_batches)
        self._run(program, micro_batches, self._randomness, 1 / tokens)
        with self.recorder(
            place.own[0], "communication", "sum gradients, loss and norm", together=True
        ):
            self._sum_ties()
            self._sum_replicas()
            loss, squares = self._totals(self._own_loss(), self._own_squares())
        norm = (squares / place.replicas) ** 0.5
        with self.recorder(place.own[0], "update", "optimizer"):
            self._update(norm)
        return StepResult.of(loss / tokens, norm, tokens)

    def _program_for(self, micro_batches: Sequence[Batch]) -> Program:
        """The plan's own orders, if it has any; otherwise orders for micro-batches of such lengths.
        All processes of a replica have the same micro-batches, and so get the same orders."""
        if self._plan.tasks or self._plan.micro_batches == 1:
            return self._program
        factors = work_factors(self._layers, micro_batches)
        orders = self._plan.orders(self._layers, factors)
        return Program(self._program.tasks, self._plan.placement, orders)

    def _update(self, norm: float) -> None:
        """Clip the gradients by the norm of the whole model, and step the optimizer."""
        if self._clip_norm is not None:
            for parameters in self._parameters.values():
                values = list(parameters.values())
                if values:
                    as_tensor = values[0].new_tensor(norm)
                    torch.nn.utils.clip_grads_with_norm_(values, self._clip_norm, as_tensor)
        self._optimizer.step()
        self._publish()

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, without dropout. As many batches as there are micro-batches
        go through the pipeline at a time; the replicas share them."""
        everything, place = list(batches), self._topology
        share = everything[place.replica :: place.replicas]
        M, summed = self._plan.micro_batches, 0.0
        with self.recorder.paused():
            for first in range(0, len(share), M):
                self._run(self._validation, share[first : first + M], None, 1.0)
                summed += self._own_loss()
        (summed,) = self._totals(summed)
        return summed / sum(batch.tokens for batch in everything)

    def _run(
        self,
        program: Program,
        micro_batches: Sequence[Batch],
        randomness: Randomness | None,
        loss_scale: float,
    ) -> None:
        """Run the tasks of this process's devices. If there are fewer micro-batches than in the
        program, the tasks of the missing ones are skipped."""
        count = len(micro_batches)
        for device, work in self._works.items():
            work.begin(Step(program.tasks, micro_batches, randomness, loss_scale))
            if stream := self._streams.get(device):  # weights and batches come from another one
                stream.wait_stream(torch.cuda.current_stream(stream.device))
        shape_of = self._works[self._topology.own[0]].shape  # which any device knows
        self._exchange.begin(
            program.traffic, lambda key: shape_of(key) if key.micro_batch < count else (0,)
        )
        with torch.set_grad_enabled(randomness is not None):
            for device, task in program.sequence(self._topology.own):
                if task.micro_batch < count:
                    stream = self._streams.get(device)
                    with torch.cuda.stream(stream) if stream else nullcontext():
                        self._do(program, device, task)
        self._exchange.end()
        for work in self._works.values():
            work.end()
        for stream in self._streams.values():
            torch.cuda.current_stream(stream.device).wait_stream(stream)

    def _do(self, program: Program, device: int, task: Task) -> None:
        """Receive what a task needs, run it, and send what others need of it."""
        work, exchange, record = self._works[device], self._exchange, self.recorder
        if before := program.traffic.before.get(task):
            with record(device, "waiting", f"wait for the inputs of {task}"):
                for sender, message in before:
                    tensor = exchange.receive((sender, device), message)
                    (work.put_gradient if message.gradient else work.put)(message.key, tensor)
                self.recorder.wait_for(self._topology.devices[device])
        with record(device, "backward" if task.backward else "forward", str(task)):
            work.run(task)
            self.recorder.wait_for(self._topology.devices[device])
        if after := program.traffic.after.get(task):
            with record(device, "communication", f"send the results of {task}"):
                for receiver, message in after:
                    take = work.take_gradient if message.gradient else work.value
                    exchange.send((device, receiver), message, take(message.key))

    def _own_loss(self) -> float:
        return sum(float(loss) for work in self._works.values() for loss in work.losses)

    def _totals(self, *values: float) -> list[float]:
        """Sums over all processes."""
        message = torch.tensor(values, dtype=torch.float64, device=self._messenger)
        dist.all_reduce(message)
        sums: list[float] = message.tolist()
        return sums

    def _sum_ties(self) -> None:
        """Sum the gradients of tied parameters over the devices that have them."""
        for tie in self._ties:
            own = [device for device in self._topology.own if device in tie.devices]
            parts = [self._gradient(device, tie.name) for device in own]
            if tie.group is not None:
                for part in parts:
                    group.sum_over(part, tie.group)
            elif parts:
                summed = total([part.to(parts[0].device) for part in parts])
                for part in parts:
                    part.copy_(summed)

    def _sum_replicas(self) -> None:
        """Sum gradients over the replicas, those of all parameters of a device in one message."""
        for device, members in self._replica_groups.items():
            gradients = [self._gradient(device, name) for name in self._parameters[device]]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            group.sum_over(flat, members)
            parts = flat.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def _gradient(self, device: int, name: str) -> Tensor:
        gradient = self._parameters[device][name].grad
        assert gradient is not None, f"{name} got no gradient"
        return gradient

    def _own_squares(self) -> float:
        """The sum of the squares of this process's gradients, each parameter counted once."""
        norms = torch.nn.utils.get_total_norm(
            [p.grad for p in self._owned().values() if p.grad is not None]
        )
        return float(norms.double() ** 2)

    def _owned(self) -> dict[str, nn.Parameter]:
        """The parameters that this process reports: a tied one only for the first device that has
        it."""
        first = {tie.name: tie.devices[0] for tie in self._ties}
        return {
            name: parameter
            for device, parameters in self._parameters.items()
            for name, parameter in parameters.items()
            if first.get(name, device) == device
        }

    # State

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name, on the main process; empty on the others."""
        return self._gather({name: p.detach() for name, p in self._owned().items()})

    def gather_gradients(self) -> dict[str, Tensor]:
        """Likewise the gradients of the last step, after clipping."""
        return self._gather(
            {name: p.grad for name, p in self._owned().items() if p.grad is not None}
        )

    def _gather(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return group.collect(values if self._topology.replica == 0 else {}, self._messenger)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, on the main process; empty on the others."""
        return self._gather(owned_part(self._weights.state(), self._owned()))

    def gather_events(self) -> list[Event]:
        """What the first replica's processes have recorded, on the main process."""
        return group.gather_lists(self.recorder.events if self._topology.replica == 0 else [])
