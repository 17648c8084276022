"""Layer outputs kept within a range, so that 8 bits can hold them (GNMT, section 6).

The range narrows linearly in the course of training, from one that hardly matters to its final
width, and the model learns to live in it. Outside training, it is the final one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nmt.model.context import ForwardContext

LOGITS = 25.0  # GNMT's gamma, the same at all times


@dataclass(frozen=True)
class Clip:
    """The largest absolute value of a layer's output, and perhaps of an LSTM's cells."""

    bound: float  # in the end
    start: float  # at the first step of training
    steps: int  # until `bound` is reached
    cells_from: int | None = None  # step from which cells are bounded, too; None: never

    @classmethod
    def fixed(cls, bound: float, cells: bool = False) -> Clip:
        """The same at every step."""
        return cls(bound, bound, 0, 0 if cells else None)

    def of_cells(self, context: ForwardContext) -> float | None:
        """The bound of cells in a forward pass; None: they have none."""
        if self.cells_from is None:
            return None
        training = context.randomness
        early = training is not None and training.step < self.cells_from
        return None if early else self.at(context)

    def at(self, context: ForwardContext) -> float:
        """The bound of a forward pass."""
        if context.randomness is None:
            return self.bound
        done = min(context.randomness.step / self.steps, 1.0) if self.steps else 1.0
        return self.bound * done + self.start * (1 - done)

    def __call__(self, x: Tensor, context: ForwardContext) -> Tensor:
        """`x` within the bound; outside it, no gradient passes."""
        bound = self.at(context)
        return x.clamp(-bound, bound)
