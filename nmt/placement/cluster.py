"""Devices and the links between them: what a plan is made for."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.config import ClusterConfig, DeviceConfig, LinkConfig

GIGABYTE = 1e9


class Cluster:
    """A cluster's figures by position."""

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

    def memory(self, device: int) -> float:
        """Bytes that fit; infinite where there is no limit."""
        gigabytes = self.config.devices[device].memory
        return float("inf") if gigabytes is None else gigabytes * GIGABYTE

    def transfer(self, size: float, sender: int, receiver: int) -> float:
        """Seconds that a message of `size` bytes takes."""
        if sender == receiver:
            return 0.0
        link = self._links.get((sender, receiver), self.config.link)
        return link.latency + size / (link.bandwidth * GIGABYTE)

    @property
    def uniform(self) -> bool:
        """Whether all devices and links are alike."""
        devices = {(d.speed, d.memory) for d in self.config.devices}
        return len(devices) == 1 and not self._links


def equal_devices(
    names: Sequence[str], bandwidth: float = 1e6, latency: float = 0.0, memory: float | None = None
) -> Cluster:
    """A cluster of devices that are all alike; without figures, its messages take no time."""
    return Cluster(
        ClusterConfig(
            name=f"{len(names)} equal devices",
            devices=[DeviceConfig(name=name, memory=memory) for name in names],
            link=LinkConfig(bandwidth=bandwidth, latency=latency),
            pairs=[],
        )
    )
