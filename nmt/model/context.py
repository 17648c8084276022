"""What surrounds a forward pass: its place in the global batch, and what training adds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nmt.model.batch import Batch
from nmt.model.dropout import Randomness


@dataclass(frozen=True)
class ForwardContext:
    """Which part of the global batch a forward pass computes, and how it trains.

    `randomness` is None outside training; nothing is dropped then. `loss_scale` is what the sums of
    losses are multiplied by before the backward pass, one over the global batch's target tokens; 0
    outside training. Auxiliary losses need it, because their gradients start within the model.
    """

    first_row: int = 0
    global_shape: tuple[int, int, int] = (0, 0, 0)
    randomness: Randomness | None = None
    first_step: int = 0
    loss_scale: float = 0.0

    @classmethod
    def of(cls, batch: Batch, randomness: Randomness | None, loss_scale: float) -> ForwardContext:
        """The context of a pass over `batch`."""
        return cls(batch.first_row, batch.global_shape, randomness, batch.first_step, loss_scale)

    def drop(self, x: Tensor, name: str, rate: float, time: int, whole: bool = False) -> Tensor:
        """Dropout on `x` (B, time, H) from layer `name`; `time` is 1 (S) or 2 (T), the index in
        `global_shape`. With `whole`, the H units of a position are dropped together."""
        if self.randomness is None or rate == 0:
            return x
        rows, steps, width = x.shape
        shape = (self.global_shape[0], self.global_shape[time], 1 if whole else width)
        mask = self.randomness.mask(name, shape, rate, x)
        first = self.first_step
        return x * mask[self.first_row : self.first_row + rows, first : first + steps]


EVALUATION = ForwardContext()
