"""The cluster that a plan is made for: devices, and the links between them."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.config import ClusterConfig, DeviceConfig, LinkConfig

GIGABYTE = 1e9


class Cluster:
    """Speeds, memory and transfer times of devices, which are numbered from 0."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.names = [device.name for device in config.devices]
        self.hosts = [device.host for device in config.devices]
        self.speeds = [device.speed for device in config.devices]
        self._links: dict[tuple[int, int], LinkConfig] = {}
        for pair in config.pairs:
            a, b = pair.between
            self._links[a, b] = self._links[b, a] = pair

    def __len__(self) -> int:
        return len(self.names)

    @property
    def total_speed(self) -> float:
        """The speed of all devices together, relative to the fastest one."""
        return sum(self.speeds) / max(self.speeds)

    def memory(self, device: int) -> float:
        """Memory of a device in bytes; infinite if the configuration sets no limit."""
        gigabytes = self.config.devices[device].memory
        return float("inf") if gigabytes is None else gigabytes * GIGABYTE

    def transfer(self, size: float, sender: int, receiver: int) -> float:
        """Seconds that a message of `size` bytes takes from one device to another."""
        if sender == receiver:
            return 0.0
        link = self._links.get((sender, receiver), self.config.link)
        return link.latency + size / (link.bandwidth * GIGABYTE)

    @property
    def uniform(self) -> bool:
        """Whether all devices are identical, and so are all links."""
        devices = {(d.speed, d.memory) for d in self.config.devices}
        return len(devices) == 1 and not self._links


def equal_devices(
    names: Sequence[str], bandwidth: float = 1e6, latency: float = 0.0, memory: float | None = None
) -> Cluster:
    """A cluster of identical devices. `bandwidth` is in GB/s, `latency` in seconds and `memory` in
    GB; by default, messages take practically no time and memory is unlimited."""
    return Cluster(
        ClusterConfig(
            name=f"{len(names)} equal devices",
            devices=[DeviceConfig(name=name, memory=memory) for name in names],
            link=LinkConfig(bandwidth=bandwidth, latency=latency),
            pairs=[],
        )
    )
