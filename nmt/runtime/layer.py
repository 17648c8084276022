"""What every layer can do in decoding. One file for each kind of layer implements it, with weights
prepared once in a number format; `nmt.runtime.kinds` says which class runs which layer.

Layers hand each other tensors coded in the format, and each knows the largest absolute value that
its output can have (`bound`), since formats of a fixed range need it.

B sentences, N tokens of their sources, S of the longest one, K hypotheses of each, R = B * K rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.kernels.native import NativeLayer
from nmt.model.layer import State
from nmt.runtime.packing import Layout, Packing
from nmt.runtime.state import Memory, Sources

NOT_CODED = inf  # the bound of an output that is in a floating format, whatever the model's is


class RuntimeLayer:
    """What layers of both sides have."""

    bound: float  # the largest absolute value of the output; NOT_CODED: it is not coded
    device: torch.device  # where its weights are; inputs may be elsewhere

    def native(self) -> NativeLayer | None:
        """The layer for compiled code; None: there is none for it."""
        return None


class SourceLayer(RuntimeLayer, ABC):
    """A layer of the source side, which runs once for each sentence."""

    @abstractmethod
    def encode(self, inputs: Sequence[Tensor], packing: Packing) -> Tensor:
        """The node's inputs for all tokens, each (N, …) in the order of `packing` → (N, …)."""


class StepOutput(NamedTuple):
    """What a target-side layer gives in one step."""

    value: Tensor  # (R, …)
    state: State = ()
    attention: Tensor | None = None  # (B, K, S) in fp32, rows summing to 1; None: it has none


class TargetLayer(RuntimeLayer, ABC):
    """A layer of the target side, which runs once for each step."""

    def start(self, rows: int) -> State:  # noqa: ARG002 - those that have a state override it
        """The recurrent state of R rows before the first step; empty for layers without one."""
        return ()

    def remember(self, inputs: Sequence[Tensor], layout: Layout) -> Memory:  # noqa: ARG002
        """Prepare what the layer reads of the source at every step: those of the node's inputs
        that are on the source side. Called once for each batch of new sentences."""
        raise AssertionError(f"{type(self).__name__} reads nothing of the source")

    @abstractmethod
    def step(self, inputs: Sequence[Tensor], state: State, sources: Sources) -> StepOutput:
        """The node's target-side inputs (R, …), the state before the step, and the source side."""
