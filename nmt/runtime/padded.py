"""The source side on a GPU: padded batches through the layers as the graph has them, with cuDNN's
recurrent layers.

B sentences, S longest source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nmt.kernels.cudnn import flatten_weights
from nmt.model.context import EVALUATION
from nmt.model.graph import BATCH, Node
from nmt.model.layer import Layer


class PaddedSource:
    """Layers of the source side on one device, in a float format."""

    def __init__(
        self, nodes: Sequence[Node], layers: Mapping[str, Layer], dtype: torch.dtype
    ) -> None:
        self._nodes = nodes
        self._layers = {node.name: layers[node.name].to(dtype).eval() for node in nodes}
        for layer in self._layers.values():
            flatten_weights(layer)
        self.device = next(self._layers[nodes[0].name].parameters()).device

    def __call__(self, ids: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Tokens (B, S) and lengths (B,), on the device → each layer's output (B, S, ·), with
        anything at padding."""
        outputs = {f"{BATCH}source": ids, f"{BATCH}source_lengths": lengths}
        for node in self._nodes:
            inputs = [outputs[name] for name in node.inputs]
            outputs[node.name] = self._layers[node.name](inputs, (), EVALUATION).value
        return outputs
