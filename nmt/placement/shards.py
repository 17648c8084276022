"""Splitting the layers of a profile into parts that planners can place separately.

A recurrent layer is split into the projection of its inputs, which does not depend on earlier time
steps, and the recurrence; the output layer into shards of the vocabulary and the softmax over all
of them. Costs are divided in proportion to the multiplications of each part. No executor runs such
a graph: its plans can only be simulated.
"""

from __future__ import annotations

from nmt.placement.cost import LayerCost, Profile, TaskCosts

# Type of a recurrent layer → width of its input projection, as a multiple of the state's width.
GATES = {"LstmLayer": 4, "GruLayer": 3}
OUTPUT = "Output"
SOFTMAX_SHARE = 0.1  # fraction of the output layer's time that softmax and loss take


def split_layers(profile: Profile, shards: int = 4) -> Profile:
    """The profile with each recurrent layer split in two, and the output layer split into
    `shards` parts and a softmax."""
    layers: dict[str, LayerCost] = {}
    parts: dict[str, tuple[str, float]] = {}  # part → its layer, and its fraction of the time
    for name, layer in profile.layers.items():
        if layer.kind in GATES and layer.inputs:
            # All inputs are as wide as the state, so that their number gives the fraction.
            share = len(layer.inputs) / (len(layer.inputs) + 1)
            product = f"{name}/inputs"
            size = GATES[layer.kind] * layer.output_bytes
            layers[product] = _part(layer, "Projection", share, size)
            layers[name] = _part(layer, "Recurrence", 1 - share, layer.output_bytes, [product])
            parts[product], parts[name] = (name, share), (name, 1 - share)
        elif layer.kind == OUTPUT:
            names = [f"{name}/{shard}" for shard in range(shards)]
            share = (1 - SOFTMAX_SHARE) / shards
            for shard in names:
                layers[shard] = _part(layer, "Shard", share, layer.output_bytes / shards)
                parts[shard] = name, share
            layers[name] = _part(layer, "Softmax", SOFTMAX_SHARE, layer.output_bytes, names)
            layers[name] = layers[name].model_copy(update={"parameter_bytes": 0.0})
            parts[name] = name, SOFTMAX_SHARE
        else:
            layers[name] = layer
            parts[name] = name, 1.0
    return profile.model_copy(
        update={
            "graph": f"{profile.graph}, split_layers",
            "layers": layers,
            "measurements": [
                TaskCosts(
                    micro_batches=costs.micro_batches,
                    chunks=costs.chunks,
                    forward={
                        part: costs.forward[of] * share for part, (of, share) in parts.items()
                    },
                    backward={
                        part: costs.backward[of] * share for part, (of, share) in parts.items()
                    },
                )
                for costs in profile.measurements
            ],
        }
    )


def _part(
    layer: LayerCost, kind: str, share: float, output: float, inputs: list[str] | None = None
) -> LayerCost:
    return layer.model_copy(
        update={
            "kind": kind,
            "inputs": layer.inputs if inputs is None else inputs,
            "output_bytes": output,
            "kept_bytes": layer.kept_bytes * share,
            "parameter_bytes": layer.parameter_bytes * share,
        }
    )
