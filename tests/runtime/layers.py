"""What the tests of runtime layers share."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.model.batch import length_mask
from nmt.model.layer import Layer
from nmt.runtime.packing import Packing
from nmt.runtime.state import Sources

LENGTHS = torch.tensor([3, 6, 1, 6])
B, S = 4, 6
NO_SOURCES = Sources({}, LENGTHS, S)


def random_layer(layer: Layer) -> Layer:
    """The layer with random values, and without gradients."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.7, 0.7)
    return layer.requires_grad_(False)


def packed(x: Tensor) -> Tensor:
    """(B, S, …) → (N, …)."""
    return Packing.of(LENGTHS).pack(x)


def assert_same_tokens(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    """(N, …) and (B, S, …), which may have anything at padding."""
    mask = length_mask(LENGTHS, S)
    padded = Packing.of(LENGTHS).pad(found)
    torch.testing.assert_close(padded[mask], wanted[mask], rtol=0, atol=tolerance)
