"""The executor for any placement of layers, cut along the batch and along time.

Every device works through its own ordered list of forward and backward tasks (`nmt.placement`).
Its process posts receives early and does not wait for sends, so that messages travel while it
works. One process drives one device, or a single one all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nmt.errors import PlanError
from nmt.model.batch import Batch
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerGraph, total
from nmt.parallel import group
from nmt.parallel.device_work import DeviceWork, Step
from nmt.parallel.executor import Loss, OptimizerFactory, StepResult
from nmt.parallel.measure import layers_of, size_of
from nmt.parallel.messages import BetweenProcesses, Exchange, Link, WithinProcess, traffic
from nmt.parallel.state import owned_part
from nmt.parallel.trace import Event, Recorder
from nmt.parallel.weights import Weights
from nmt.parallel.world import world
from nmt.placement.plan import Plan
from nmt.placement.tasks import Layers, Task, TaskGraph, amount_of_work, check_orders
from nmt.precision.master_weights import MasterWeights

Parameters = Mapping[str, nn.Parameter]


def piece_factors(layers: Layers, pieces: Sequence[Batch]) -> list[dict[str, float]]:
    """Of each micro-batch: how much more work it is for each layer than the mean."""
    works = [amount_of_work(layers, size_of(piece)) for piece in pieces]
    means = {name: sum(one[name] for one in works) / len(works) for name in layers}
    return [{name: one[name] / means[name] for name in layers} for one in works]


class _Program:
    """What all devices do in one kind of step."""

    def __init__(
        self, tasks: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
    ) -> None:
        self.tasks, self.orders = tasks, orders
        self.traffic = traffic(tasks, placement, orders)

    def sequence(self, devices: Sequence[int]) -> list[tuple[int, Task]]:
        """The tasks of some devices that one process drives, in an order in which it can launch
        them: each device its own order, and nothing before what it needs."""
        if len(devices) == 1:
            return [(devices[0], task) for task in self.orders[devices[0]]]
        merged: list[tuple[int, Task]] = []
        done: set[Task] = set()
        left = {device: list(reversed(self.orders[device])) for device in devices}
        while any(left.values()):
            for device, tasks in left.items():
                if tasks and done.issuperset(self.tasks.needs(tasks[-1])):
                    done.add(tasks[-1])
                    merged.append((device, tasks.pop()))
        return merged


class WavefrontExecutor(group.GroupMember):
    """Runs a plan on as many processes as it has devices, times `copies`, or on `copies` alone.

    The global batch is cut into copies × micro-batches pieces, as `LocalExecutor` cuts it into that
    many; copy c has the c-th run of them.

    Raises:
        PlanError: the plan is not for this graph or this number of processes, or would deadlock.
    """

    def __init__(
        self,
        graph: LayerGraph,
        *,
        plan: Plan,
        copies: int,
        seed: int,
        loss: Loss,
        optimizer: OptimizerFactory,
        clip_norm: float | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        plan.validate_against(graph.name, graph.names)
        self._plan, self._copies, self._clip_norm = plan, copies, clip_norm
        self._randomness = Randomness(seed)
        self.recorder = Recorder()
        layers = layers_of(graph)
        self._layers = layers
        tasks, orders = TaskGraph(layers, plan.micro_batches, plan.chunks), plan.orders(layers)
        # A plan may bring any order; those that are made for a batch cannot deadlock.
        check_orders(tasks, plan.placement, orders)
        self._program = _Program(tasks, plan.placement, orders)
        validation = TaskGraph(layers, plan.micro_batches, 1, training=False)
        self._validation = _Program(validation, plan.placement, plan.forward_orders(layers))
        self._join(plan, copies)
        working = torch.float64 if dtype == torch.float64 else torch.float32
        self._stacks = {
            here: graph.build(
                [name for name in graph.names if plan.placement[name] == here], seed, working
            ).to(self._devices[here])
            for here in self._here
        }
        self._masters = {
            here: MasterWeights(stack)
            for here, stack in self._stacks.items()
            if dtype == torch.bfloat16
        }
        self._parameters: dict[int, Parameters] = {
            here: self._masters[here].parameters if self._masters else stack.canonical_parameters()
            for here, stack in self._stacks.items()
        }
        self._works = {
            here: DeviceWork(graph, stack, loss, self._devices[here], dtype)
            for here, stack in self._stacks.items()
        }
        self._exchange = self._make_exchange(dtype)
        self._ties = self._make_ties(graph)
        self._copy_groups = self._make_copy_groups()
        self._optimizer = optimizer(
            [p for parameters in self._parameters.values() for p in parameters.values()]
        )
        self._weights = Weights(list(self._parameters.values()), self._optimizer, self._publish)

    def _publish(self) -> None:
        for masters in self._masters.values():
            masters.publish()

    # Processes

    def _join(self, plan: Plan, copies: int) -> None:
        """Find out which devices of which copy this process drives."""
        one_process = world().size == copies and len(plan.devices) > 1
        group.join(group.backend_for(plan.devices, plan.hosts, one_process))
        processes, devices = dist.get_world_size(), len(plan.devices)
        if processes not in (copies, copies * devices):
            raise PlanError(
                f"A plan for {devices} devices, times {copies} copies, needs {copies * devices} "
                f"processes, or {copies}, but there are {processes}."
            )
        alone = processes == copies
        rank = dist.get_rank()
        self._copy, place = (rank, 0) if alone else divmod(rank, devices)
        self._here = list(range(devices)) if alone else [place]
        self._ranks = [self._copy * devices + device for device in range(devices)]
        self._devices = [
            torch.device(name) if alone and devices > 1 else group.own_device(plan.devices, i)
            for i, name in enumerate(plan.devices)
        ]
        if (own := self._devices[self._here[0]]).type == "cuda":
            torch.cuda.set_device(own)
        self._streams = {
            here: torch.cuda.Stream(self._devices[here])
            for here in self._here
            if alone and devices > 1 and self._devices[here].type == "cuda"
        }
        self._messenger = group.messenger()

    def _make_exchange(self, dtype: torch.dtype) -> Exchange:
        if len(self._here) == len(self._plan.devices):
            return WithinProcess(self._devices)
        (here,) = self._here
        exchange = BetweenProcesses(here, self._ranks, self._devices[here], dtype)
        if dist.get_backend() == "nccl":
            exchange.use_groups(self._make_link_groups())
        return exchange

    def _make_link_groups(self) -> dict[Link, Any]:
        """A communicator for each link of each copy; all processes take part in making each."""
        links = sorted({*self._program.traffic.links, *self._validation.traffic.links})
        groups: dict[Link, Any] = {}
        for copy in range(self._copies):
            for link in links:
                first = copy * len(self._plan.devices)
                made = dist.new_group([first + device for device in link])
                if copy == self._copy:
                    groups[link] = made
                    # NCCL connects at the first message of a link, and waits for the other end.
                    # All in one order now, or else two ends might wait for each other on two links.
                    message = torch.zeros(1, device=self._messenger)
                    if self._here[0] == link[0]:
                        dist.send(message, first + link[1], group=made)
                    elif self._here[0] == link[1]:
                        dist.recv(message, first + link[0], group=made)
        return groups

    def _make_ties(self, graph: LayerGraph) -> list[tuple[str, list[int], Any]]:
        """Parameters that several devices have: name, those devices, their processes' group."""
        holders: dict[str, list[int]] = {}
        for device in range(len(self._plan.devices)):
            nodes = [n for n in graph.nodes if self._plan.placement[n.name] == device]
            names = {f"{node.name}." for node in nodes}
            for name in sorted({other for node in graph.nodes for other in node.shares.values()}):
                owner = any(name.startswith(prefix) for prefix in names)
                if owner or any(name in node.shares.values() for node in nodes):
                    holders.setdefault(name, []).append(device)
        ties = []
        for name, devices in sorted(holders.items()):
            if len(devices) < 2:
                continue
            members = None
            if len(self._here) < len(self._plan.devices):
                for copy in range(self._copies):
                    first = copy * len(self._plan.devices)
                    made = dist.new_group([first + device for device in devices])
                    members = made if copy == self._copy else members
            ties.append((name, devices, members))
        return ties

    def _make_copy_groups(self) -> dict[int, Any]:
        """Of each own device: the processes that drive it in all copies."""
        if self._copies == 1:
            return {}
        if len(self._here) == len(self._plan.devices):
            return dict.fromkeys(self._here)  # all processes
        groups: dict[int, Any] = {}
        for device in range(len(self._plan.devices)):
            ranks = [copy * len(self._plan.devices) + device for copy in range(self._copies)]
            made = dist.new_group(ranks)
            if device in self._here:
                groups[device] = made
        return groups

    # Steps

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> StepResult:
        """One optimizer step on the global batch."""
        tokens = batch.tokens
        self._randomness.begin_step(step)
        for settings in self._optimizer.param_groups:
            settings["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        M = self._plan.micro_batches
        pieces = batch.cut(self._copies * M)[self._copy * M : (self._copy + 1) * M]
        self._run(self._program_for(pieces), pieces, self._randomness, 1 / tokens)
        here = self._here[0]
        with self.recorder(here, "communication", "sum gradients, loss and norm"):
            self._sum_ties()
            self._sum_copies()
            loss, squares = self._totals(self._loss_here(), self._squares_here())
        norm = (squares / self._copies) ** 0.5
        with self.recorder(here, "update", "optimizer"):
            self._update(norm)
        return StepResult.of(loss / tokens, norm, tokens)

    def _program_for(self, pieces: Sequence[Batch]) -> _Program:
        """The plan's own orders, if it has any; or those that suit the lengths of these pieces.
        All processes know the pieces, and so find the same."""
        if self._plan.tasks or self._plan.micro_batches == 1:
            return self._program
        factors = piece_factors(self._layers, pieces)
        orders = self._plan.orders(self._layers, factors)
        return _Program(self._program.tasks, self._plan.placement, orders)

    def _update(self, norm: float) -> None:
        """Clip by the norm of the whole model, and step."""
        if self._clip_norm is not None:
            for parameters in self._parameters.values():
                values = list(parameters.values())
                if values:
                    as_tensor = values[0].new_tensor(norm)
                    torch.nn.utils.clip_grads_with_norm_(values, self._clip_norm, as_tensor)
        self._optimizer.step()
        self._publish()

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, nothing dropped. As many batches as there are micro-batches
        go through the pipeline at a time; the copies share them."""
        everything = list(batches)
        mine = everything[self._copy :: self._copies]
        M, summed = self._plan.micro_batches, 0.0
        with self.recorder.paused():
            for first in range(0, len(mine), M):
                pieces = mine[first : first + M]
                self._run(self._validation, pieces, None, 1.0)
                summed += self._loss_here()
        (summed,) = self._totals(summed)
        return summed / sum(batch.tokens for batch in everything)

    def _run(
        self,
        program: _Program,
        pieces: Sequence[Batch],
        randomness: Randomness | None,
        scale: float,
    ) -> None:
        """All tasks of this process's devices; fewer pieces than micro-batches leave tasks out."""
        for here, work in self._works.items():
            work.begin(Step(program.tasks, pieces, randomness, scale))
            if stream := self._streams.get(here):  # weights and batches were made on another one
                stream.wait_stream(torch.cuda.current_stream(stream.device))
        some_work = self._works[self._here[0]]
        self._exchange.begin(
            program.traffic, lambda m: some_work.shape(m[:3]) if m[1] < len(pieces) else (0,)
        )
        with torch.set_grad_enabled(randomness is not None):
            for device, task in program.sequence(self._here):
                if task.micro_batch < len(pieces):
                    stream = self._streams.get(device)
                    with torch.cuda.stream(stream) if stream else nullcontext():
                        self._do(program, device, task)
        self._exchange.end()
        for work in self._works.values():
            work.end()
        for stream in self._streams.values():
            torch.cuda.current_stream(stream.device).wait_stream(stream)

    def _do(self, program: _Program, device: int, task: Task) -> None:
        work, exchange, record = self._works[device], self._exchange, self.recorder
        if before := program.traffic.before.get(task):
            with record(device, "communication", f"wait for the inputs of {task}"):
                for sender, message in before:
                    tensor = exchange.receive((sender, device), message)
                    (work.hand_back if message.gradient else work.put)(message[:3], tensor)
                self.recorder.wait_for(self._devices[device])
        with record(device, "backward" if task.backward else "forward", str(task)):
            work.run(task)
            self.recorder.wait_for(self._devices[device])
        if after := program.traffic.after.get(task):
            with record(device, "communication", f"send what {task} gave"):
                for receiver, message in after:
                    key = message[:3]
                    tensor = work.take_gradient(key) if message.gradient else work.value(key)
                    exchange.send((device, receiver), message, tensor)

    def _loss_here(self) -> float:
        return sum(float(loss) for work in self._works.values() for loss in work.losses)

    def _totals(self, *values: float) -> list[float]:
        """Sums over all processes."""
        message = torch.tensor(values, dtype=torch.float64, device=self._messenger)
        dist.all_reduce(message)
        found: list[float] = message.tolist()
        return found

    def _sum_ties(self) -> None:
        """Over the devices that share a parameter."""
        for name, devices, members in self._ties:
            parts = [self._gradient(here, name) for here in self._here if here in devices]
            if members is not None:
                for part in parts:
                    group.sum_over(part, members)
            elif parts:
                summed = total([part.to(parts[0].device) for part in parts])
                for part in parts:
                    part.copy_(summed)

    def _sum_copies(self) -> None:
        """Over the copies, all parameters of a device in one message."""
        if self._copies == 1:
            return
        for here, parameters in self._parameters.items():
            gradients = [self._gradient(here, name) for name in parameters]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            group.sum_over(flat, self._copy_groups[here])
            parts = flat.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def _gradient(self, here: int, name: str) -> Tensor:
        gradient = self._parameters[here][name].grad
        assert gradient is not None, f"{name} got no gradient"
        return gradient

    def _squares_here(self) -> float:
        """The sum of the squares of this process's gradients, each parameter counted once."""
        norms = torch.nn.utils.get_total_norm(
            [p.grad for p in self._owned().values() if p.grad is not None]
        )
        return float(norms.double() ** 2)

    def _owned(self) -> dict[str, nn.Parameter]:
        """The parameters that this process speaks for: of those that several devices have, the
        first device's."""
        first = {name: devices[0] for name, devices, _ in self._ties}
        return {
            name: parameter
            for here, parameters in self._parameters.items()
            for name, parameter in parameters.items()
            if first.get(name, here) == here
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
        return group.collect(values if self._copy == 0 else {}, self._messenger)

    def update_average(self, decay: float) -> None:
        """Take the parameters into the running average as they are now, each process its own."""
        self._weights.update_average(decay)

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""
        return self._weights.has_average

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""
        return self._weights.using_average()

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, values by canonical name take the place of the parameters."""
        return self._weights.using(values)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, on the main process; empty on the others."""
        return self._gather(owned_part(self._weights.state(), self._owned()))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state; every process is given all of it."""
        self._weights.load(state)

    def gather_events(self) -> list[Event]:
        """What the first copy's processes have recorded, on the main process."""
        return group.gather_lists(self.recorder.events if self._copy == 0 else [])
