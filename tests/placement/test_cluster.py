"""Devices, links between them, and the machines that they are in."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from nmt.config import ClusterConfig, read
from nmt.errors import ConfigurationError
from nmt.placement.cluster import Cluster, equal_devices
from nmt.placement.problem import Candidate, Problem
from nmt.placement.simulate import Simulator
from tests.placement.problems import chain

LINK = {"bandwidth": 2.0, "latency": 0.5}


def config(**changes: Any) -> dict[str, Any]:
    devices = [
        {"name": "cuda:0", "host": "a"},
        {"name": "cuda:0", "host": "b", "speed": 2.0, "memory": 16.0},
        {"name": "cuda:1", "host": "b"},
    ]
    return {"name": "some", "devices": devices, "link": LINK, "pairs": [], **changes}


def test_links() -> None:
    pairs = [{"between": [1, 2], "bandwidth": 10.0, "latency": 0.0}]
    cluster = Cluster(read(ClusterConfig, config(pairs=pairs)))
    assert cluster.transfer(4e9, 0, 1) == pytest.approx(0.5 + 2.0)
    assert cluster.transfer(4e9, 1, 2) == cluster.transfer(4e9, 2, 1) == pytest.approx(0.4)
    assert cluster.transfer(4e9, 1, 1) == 0.0
    assert (cluster.memory(0), cluster.memory(1)) == (inf, 16e9)
    assert not cluster.uniform


def test_equal_devices_have_free_messages() -> None:
    cluster = equal_devices(["cpu", "cpu"])
    assert len(cluster) == 2
    assert cluster.uniform
    assert cluster.transfer(1e6, 0, 1) < 1e-6


def test_plans_name_the_machines() -> None:
    cluster = Cluster(read(ClusterConfig, config()))
    plan = Problem(Simulator(chain([1.0, 1.0]), cluster), [(1, 1)]).plan(Candidate((0, 2), 0))
    assert (plan.devices, plan.hosts) == (["cuda:0", "cuda:1"], ["a", "b"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"devices": []}, "`devices` must not be empty"),
        ({"pairs": [{"between": [0, 3], **LINK}]}, "but names [0, 3] instead"),
        ({"pairs": [{"between": [0], **LINK}]}, "`pairs.0.between` must"),
        ({"link": {"bandwidth": 0.0, "latency": 0.0}}, "`link.bandwidth` must be greater than 0"),
        ({"devices": [{"name": "cpu", "speed": -1.0}]}, "`devices.0.speed` must be greater than"),
    ],
)
def test_mistakes(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(ClusterConfig, config(**changes))
    assert sentence in str(caught.value)
