"""Dropout whose masks do not depend on how the work is divided.

A layer's mask is drawn for the whole global batch from (seed, step, layer name) and sliced by rows
and time, so that one process, a pipeline, and several replicas drop the same units.
(Masks drawn on a GPU differ from those drawn on a CPU: their generators do.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts; the same on every machine and Python."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass
class Randomness:
    """The random masks of one optimizer step.

    One object serves all layers and micro-batches in a process and keeps each mask until
    `begin_step`, since every micro-batch slices the same one.
    """

    seed: int
    step: int = 0
    _masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict, repr=False)

    def begin_step(self, step: int) -> None:
        """Start a step: drop the masks of the one before."""
        self.step = step
        self._masks.clear()

    def mask(self, name: str, shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
        """The whole mask of `name`: 0 with probability `rate`, else 1 / (1 - rate)."""
        key = (name, shape, like.dtype, like.device)
        mask = self._masks.get(key)
        if mask is None:
            generator = torch.Generator(device=like.device)
            generator.manual_seed(stable_seed(self.seed, self.step, name))
            mask = (_uniform_int16(shape, generator) >= round(rate * 2**16) - 2**15).to(like.dtype)
            mask = self._masks[key] = mask.mul_(1 / (1 - rate))
        return mask


def _uniform_int16(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform over -2^15 … 2^15 - 1. Four come from each 64-bit draw: several times faster on a CPU
    than `bernoulli_`, which draws a float for each element."""
    count = prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:count].view(shape)
