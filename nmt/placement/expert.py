"""Placements that an expert would choose."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.errors import PlanError
from nmt.placement.plan import contiguous_stages
from nmt.placement.tasks import Layers

HEAVY = 0.01  # part of the whole time from which on a layer counts


def folded(layers: Layers, costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """GNMT's placement (Wu et al. 2016, section 3.2): the i-th part of the encoder and the i-th
    part of the decoder on one device, so that all devices work while the encoder runs, and again
    while the decoder does.

    Raises:
        PlanError: a side has fewer layers than there are devices.
    """
    sides = _sides(layers, costs)
    return {
        name: device for side in sides for name, device in contiguous_stages(side, devices).items()
    }


def equal_layers(costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """Contiguous runs with equal numbers of heavy layers, whatever those take.

    Raises:
        PlanError: fewer layers than devices.
    """
    least = HEAVY * sum(costs.values())
    return contiguous_stages({name: float(cost >= least) for name, cost in costs.items()}, devices)


def split(layers: Layers, costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """The encoder on the first half of the devices and the decoder on the others, each in runs of
    equal cost.

    Raises:
        PlanError: the graph has not two sides, or fewer layers on one than devices.
    """
    sides = _sides(layers, costs)
    if len(sides) != 2 or devices < 2:
        raise PlanError(
            "The split of encoder and decoder must have two sides and two devices, but there are "
            f"{len(sides)} sides and {devices} devices."
        )
    source, target = sides
    half = devices // 2
    return {
        **contiguous_stages(source, half),
        **{name: half + d for name, d in contiguous_stages(target, devices - half).items()},
    }


def _sides(layers: Layers, costs: Mapping[str, float]) -> list[dict[str, float]]:
    """The costs of the layers of each time axis: the encoder's, the decoder's."""
    sides: dict[str, dict[str, float]] = {}
    for name, info in layers.items():
        sides.setdefault(info.axis, {})[name] = costs[name]
    return list(sides.values())
