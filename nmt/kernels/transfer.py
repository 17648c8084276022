"""Moving a batch to another device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLE = 512  # rows of a product on a GPU


def moved(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`; the same tensor if it is there already."""
    if x.device == device:
        return x
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.contiguous().pin_memory()  # pageable memory would wait for what the GPU is doing
    return x.to(device, non_blocking=True)


def usual_rows(index: Tensor, positions: int, device: torch.device) -> Tensor:
    """The rows (N,) of a product, out of `positions` that it could have, as `device` is to be given
    them. From a CPU to a GPU, rows that are not among them follow, up to a multiple of MULTIPLE:
    cuBLAS searches for the best algorithm for every number of rows that it meets, and otherwise
    there are as many numbers as batches."""
    if device.type != "cuda" or index.device.type != "cpu":
        return index
    return rounded_up_rows(index, positions)


def rounded_up_rows(index: Tensor, positions: int) -> Tensor:
    """The rows, and as many of the others as make their number a multiple of MULTIPLE."""
    others = torch.ones(positions, dtype=torch.bool)
    others[index] = False
    return torch.cat([index, others.nonzero()[: -len(index) % MULTIPLE, 0]])
