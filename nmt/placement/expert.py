"""Placements that an expert would choose by hand."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.errors import PlanError
from nmt.placement.plan import contiguous_stages
from nmt.placement.tasks import Layers

HEAVY = 0.01  # fraction of the total time from which a layer counts as heavy


def folded(layers: Layers, costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """GNMT's placement (Wu et al. 2016, section 3.2): device i has the i-th part of the encoder and
    the i-th part of the decoder, so that all devices work during both halves of the forward pass.

    Raises:
        PlanError: the encoder or the decoder has fewer layers than there are devices.
    """
    sides = _sides(layers, costs)
    return {
        name: device for side in sides for name, device in contiguous_stages(side, devices).items()
    }


def equal_layers(costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """Contiguous runs with equal numbers of heavy layers, regardless of how long these take.

    Raises:
        PlanError: there are fewer layers than devices.
    """
    least = HEAVY * sum(costs.values())
    return contiguous_stages({name: float(cost >= least) for name, cost in costs.items()}, devices)


def split(layers: Layers, costs: Mapping[str, float], devices: int) -> dict[str, int]:
    """The encoder on the first half of the devices and the decoder on the second half, each in
    contiguous runs of about equal cost.

    Raises:
        PlanError: the graph does not consist of an encoder and a decoder, there is only one device,
            or a side has fewer layers than devices.
    """
    sides = _sides(layers, costs)
    if len(sides) != 2 or devices < 2:
        raise PlanError(
            "`placement=split` needs a graph with two time axes and at least two devices, but has "
            f"{len(sides)} and {devices} instead; use another planner."
        )
    source, target = sides
    half = devices // 2
    return {
        **contiguous_stages(source, half),
        **{name: half + d for name, d in contiguous_stages(target, devices - half).items()},
    }


def _sides(layers: Layers, costs: Mapping[str, float]) -> list[dict[str, float]]:
    """Layer → cost for each time axis: those of the encoder, then those of the decoder."""
    sides: dict[str, dict[str, float]] = {}
    for name, info in layers.items():
        sides.setdefault(info.axis, {})[name] = costs[name]
    return list(sides.values())
