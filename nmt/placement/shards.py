"""A finer graph from a profile of layers: what planners may place once layers are broken up.

A recurrent layer becomes the product with its inputs, which needs no earlier step, and the
recurrence; the output layer becomes shards of the vocabulary and the normalisation over all of
them. Costs are shared out by the number of multiplications, which is what the parts are made of. No
executor runs such a graph yet: its plans are simulated.
"""

from __future__ import annotations

from nmt.placement.cost import LayerCost, Profile, TaskCosts

# Of recurrent layers: vectors of H in the product with the inputs.
GATES = {"LstmLayer": 4, "GruLayer": 3}
OUTPUT = "Output"
NORMALISING = 0.1  # part of the output layer's time that is the softmax and the loss


def split_layers(profile: Profile, shards: int = 4) -> Profile:
    """The same work in smaller parts."""
    layers: dict[str, LayerCost] = {}
    parts: dict[str, tuple[str, float]] = {}  # part → layer, and its part of the time
    for name, layer in profile.layers.items():
        if layer.kind in GATES and layer.inputs:
            # All vectors have one width, so that the inputs' part follows from their number.
            share = len(layer.inputs) / (len(layer.inputs) + 1)
            product = f"{name}/inputs"
            size = GATES[layer.kind] * layer.output_bytes
            layers[product] = _part(layer, "Projection", share, size)
            layers[name] = _part(layer, "Recurrence", 1 - share, layer.output_bytes, [product])
            parts[product], parts[name] = (name, share), (name, 1 - share)
        elif layer.kind == OUTPUT:
            names = [f"{name}/{shard}" for shard in range(shards)]
            share = (1 - NORMALISING) / shards
            for shard in names:
                layers[shard] = _part(layer, "Shard", share, layer.output_bytes / shards)
                parts[shard] = name, share
            layers[name] = _part(layer, "Softmax", NORMALISING, layer.output_bytes, names)
            layers[name] = layers[name].model_copy(update={"parameter_bytes": 0.0})
            parts[name] = name, NORMALISING
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
