"""GRU layers (Cho et al. 2014), in PyTorch's form: the reset gate is applied to the product with
the state, its bias included."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, uniform, zeros
from nmt.model.layer import State
from nmt.model.recurrent import RecurrentLayer


class GruLayer(RecurrentLayer):
    """See RecurrentLayer. The state is (h,), (B, H); it is a mean of values within 1, and no range
    is imposed on it."""

    def make_cell(self, width: int, hidden: int) -> None:
        """See RecurrentLayer."""
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def sequence(
        self,
        x: Tensor,
        state: State,
        context: ForwardContext,  # noqa: ARG002 - as every cell
    ) -> tuple[Tensor, State]:
        """See RecurrentLayer."""
        output, h = self.gru(x, state[0][None] if state else None)
        return output, (h[0],)

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        return {
            **super().initial_values(),
            "gru.weight_ih_l0": uniform,
            "gru.weight_hh_l0": uniform,
            "gru.bias_ih_l0": zeros,
            "gru.bias_hh_l0": zeros,
        }
