"""Which process drives which devices of which replica, and the groups that they communicate in.

A replica has one process for each device of the plan, or a single one for all of them. Ranks are
numbered replica by replica.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist

from nmt.errors import PlanError
from nmt.model.graph import LayerGraph
from nmt.parallel import group
from nmt.parallel.messages import BetweenProcesses, Exchange, Link, WithinProcess
from nmt.parallel.world import world
from nmt.placement.plan import Plan


class Tie(NamedTuple):
    """A parameter that several devices have."""

    name: str
    devices: tuple[int, ...]
    group: dist.ProcessGroup | None  # of their processes in this replica; None: all are this one's


@dataclass(frozen=True)
class Topology:
    """The place of this process. Devices are positions in the plan's list.

    All processes must make the same calls in the same order: a group is made by all of them.
    """

    plan: Plan
    replicas: int
    replica: int  # this process's
    own: tuple[int, ...]  # the devices that this process drives
    devices: tuple[torch.device, ...]  # of this replica, as this process names them

    @classmethod
    def join(cls, plan: Plan, replicas: int) -> Topology:
        """Join the processes of a run of the plan.

        Raises:
            PlanError: there are more or fewer of them than it needs.
        """
        count = len(plan.devices)
        one_process = world().size == replicas and count > 1
        group.join(group.backend_for(plan.devices, plan.hosts, one_process))
        processes = dist.get_world_size()
        if processes not in (replicas, replicas * count):
            raise PlanError(
                f"A plan for {count} devices, times {replicas} replicas, needs "
                f"{replicas * count} processes, or {replicas}, but there are {processes}."
            )
        drives_all = processes == replicas
        rank = dist.get_rank()
        replica, device = (rank, 0) if drives_all else divmod(rank, count)
        own = tuple(range(count)) if drives_all else (device,)
        devices = tuple(
            torch.device(name) if drives_all and count > 1 else group.own_device(plan.devices, i)
            for i, name in enumerate(plan.devices)
        )
        if devices[own[0]].type == "cuda":
            torch.cuda.set_device(devices[own[0]])
        return cls(plan, replicas, replica, own, devices)

    @property
    def drives_all(self) -> bool:
        """Whether this process drives all devices of its replica."""
        return len(self.own) == len(self.plan.devices)

    def streams(self) -> dict[int, torch.cuda.Stream]:
        """A stream for each GPU of a process that drives several devices."""
        if len(self.own) == 1:
            return {}
        return {
            device: torch.cuda.Stream(self.devices[device])
            for device in self.own
            if self.devices[device].type == "cuda"
        }

    def exchange(self, links: Iterable[Link], dtype: torch.dtype) -> Exchange:
        """How messages of this type travel along the links."""
        if self.drives_all:
            return WithinProcess(self.devices)
        (device,) = self.own
        exchange = BetweenProcesses(device, self._ranks(self.replica), self.devices[device], dtype)
        if dist.get_backend() == "nccl":
            exchange.use_groups(self._link_groups(sorted(set(links))))
        return exchange

    def ties(self, graph: LayerGraph) -> list[Tie]:
        """The tied parameters that several devices have."""
        ties = []
        for name, devices in _holders(graph, self.plan).items():
            if len(devices) > 1:
                members = None if self.drives_all else self._group_of_each_replica(devices)
                ties.append(Tie(name, tuple(devices), members))
        return ties

    def replica_groups(self) -> dict[int, dist.ProcessGroup | None]:
        """Of each own device: the processes that drive it in all replicas; None: all processes.
        Empty with one replica."""
        if self.replicas == 1:
            return {}
        if self.drives_all:
            return dict.fromkeys(self.own)
        groups: dict[int, dist.ProcessGroup | None] = {}
        for device in range(len(self.plan.devices)):
            made = dist.new_group([self._ranks(r)[device] for r in range(self.replicas)])
            if device in self.own:
                groups[device] = made
        return groups

    def _ranks(self, replica: int) -> list[int]:
        """The processes of a replica's devices, where each has its own."""
        count = len(self.plan.devices)
        return [replica * count + device for device in range(count)]

    def _group_of_each_replica(self, devices: Sequence[int]) -> dist.ProcessGroup | None:
        """Make a group of the processes of some devices in each replica → this replica's."""
        groups: list[dist.ProcessGroup | None] = [
            dist.new_group([self._ranks(replica)[device] for device in devices])
            for replica in range(self.replicas)
        ]
        return groups[self.replica]

    def _link_groups(self, links: Sequence[Link]) -> dict[Link, dist.ProcessGroup | None]:
        """A communicator for each link. NCCL connects at the first message of a link, and waits for
        the other end: all connect in one order now, or else two ends might wait for each other on
        two links."""
        groups: dict[Link, dist.ProcessGroup | None] = {}
        for replica in range(self.replicas):
            ranks = self._ranks(replica)
            for link in links:
                sender, receiver = (ranks[device] for device in link)
                made = dist.new_group([sender, receiver])
                if replica != self.replica:
                    continue
                groups[link] = made
                message = torch.zeros(1, device=group.messenger())
                if self.own[0] == link[0]:
                    dist.send(message, receiver, group=made)
                elif self.own[0] == link[1]:
                    dist.recv(message, sender, group=made)
        return groups


def _holders(graph: LayerGraph, plan: Plan) -> dict[str, list[int]]:
    """Tied parameter → the devices whose layers have it, in order of their names."""
    names = sorted({other for node in graph.nodes for other in node.shares.values()})
    holders: dict[str, list[int]] = {name: [] for name in names}
    for device in range(len(plan.devices)):
        nodes = [node for node in graph.nodes if plan.placement[node.name] == device]
        for name in names:
            owns = any(name.startswith(f"{node.name}.") for node in nodes)
            if owns or any(name in node.shares.values() for node in nodes):
                holders[name].append(device)
    return holders
