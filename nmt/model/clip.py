"""Layer outputs kept within a range, so that 8 bits can hold them (GNMT, section 6).

During training the range narrows linearly, from one that hardly matters to its final width, so that
the model adapts to it. Outside training it has its final width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nmt.model.context import ForwardContext

LOGITS = 25.0  # GNMT's gamma, the same at all times


@dataclass(frozen=True)
class Clip:
    """The largest absolute value of a layer's output, and optionally of an LSTM's cells."""

    bound: float  # from step `steps` on
    start: float  # at the first step of training
    steps: int  # until `bound` is reached
    cells_from: int | None = None  # step from which cells are clipped, too; None: never

    @classmethod
    def fixed(cls, bound: float, cells: bool = False) -> Clip:
        """A range that is the same at every step."""
        return cls(bound, bound, 0, 0 if cells else None)

    def of_cells(self, context: ForwardContext) -> float | None:
        """The bound of an LSTM's cells in this pass; None: they are not clipped."""
        if self.cells_from is None:
            return None
        training = context.randomness
        early = training is not None and training.step < self.cells_from
        return None if early else self.at(context)

    def at(self, context: ForwardContext) -> float:
        """The bound of outputs in this pass."""
        if context.randomness is None:
            return self.bound
        done = min(context.randomness.step / self.steps, 1.0) if self.steps else 1.0
        return self.bound * done + self.start * (1 - done)

    def __call__(self, x: Tensor, context: ForwardContext) -> Tensor:
        """`x` clipped to the bound; no gradient passes where it was beyond."""
        bound = self.at(context)
        return x.clamp(-bound, bound)
