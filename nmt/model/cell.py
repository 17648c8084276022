"""Recurrent layers whose cell is written as text (Zoph & Le 2017): see `nmt.rules.cells`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.kernels.cell import cell_sequence
from nmt.model.context import ForwardContext
from nmt.model.initializers import Initializer, uniform, zeros
from nmt.model.layer import State
from nmt.model.recurrent import RecurrentLayer
from nmt.rules.cells import MEMORY, PRODUCT, Cell, read_cell
from nmt.rules.expression import Call, Variable, parts


class CellLayer(RecurrentLayer):
    """See RecurrentLayer. The state is (h,), or (h, c) for a cell with a memory, each (B, H)."""

    def __init__(self, *arguments: Any, text: str, **settings: Any) -> None:
        """The arguments of RecurrentLayer, and the cell."""
        self.text, self.cell = text, read_cell(text)  # `make_cell`, which is called next, needs it
        super().__init__(*arguments, **settings)

    def make_cell(self, width: int, hidden: int) -> None:
        """See RecurrentLayer."""
        cell = self.cell
        self.width, self.hidden = width, hidden
        self.weight_ih = nn.Parameter(torch.empty(len(cell.inputs) * hidden, width))
        self.bias_ih = nn.Parameter(torch.empty(len(cell.inputs) * hidden))
        if cell.states:
            self.weight_hh = nn.Parameter(torch.empty(len(cell.states) * hidden, hidden))
            self.bias_hh = nn.Parameter(torch.empty(len(cell.states) * hidden))

    def sequence(
        self,
        x: Tensor,
        state: State,
        context: ForwardContext,  # noqa: ARG002 - as every cell
    ) -> tuple[Tensor, State]:
        """See RecurrentLayer."""
        steps = x.transpose(0, 1)
        products = F.linear(steps.reshape(-1, self.width), self.weight_ih, self.bias_ih)
        if not state:
            zero = x.new_zeros(len(x), self.hidden)
            state = (zero,) if self.cell.memory is None else (zero, zero)
        weight = self.weight_hh if self.cell.states else None
        bias = self.bias_hh if self.cell.states else None
        products = products.view(*steps.shape[:2], -1)
        output, state = cell_sequence(self.text, products, weight, bias, state)
        return output.transpose(0, 1), state

    def initial_values(self) -> Mapping[str, Initializer]:
        """See Layer."""
        values: dict[str, Initializer] = {
            **super().initial_values(),
            "weight_ih": uniform,
            "bias_ih": open_gates(self.text),
        }
        if self.cell.states:
            values |= {"weight_hh": uniform, "bias_hh": zeros}
        return values


@cache
def open_gates(text: str) -> Initializer:
    """The bias of a cell's products with the input: 1 for those whose sigmoid multiplies the
    memory, as for the forget gate of an LSTM, else 0."""
    return partial(_open, places=tuple(_gates_of_memory(read_cell(text))), cell=read_cell(text))


def _open(
    shape: torch.Size,
    generator: torch.Generator,  # noqa: ARG001 - as every initializer
    places: tuple[int, ...],
    cell: Cell,
) -> Tensor:
    values = torch.zeros(len(cell.inputs), shape[0] // len(cell.inputs))
    values[list(places)] = 1
    return values.view(shape)


def _gates_of_memory(cell: Cell) -> list[int]:
    """The places, among its products with the input, of gates that multiply the memory."""
    found = []
    for part in cell.parts:
        if not isinstance(part, Call) or part.name != "*" or MEMORY not in part.arguments:
            continue
        for gate in part.arguments:
            if isinstance(gate, Call) and gate.name == "sigmoid":
                names = [one.name for one in parts(gate) if isinstance(one, Variable)]
                numbers = [PRODUCT.fullmatch(name) for name in names]
                found += [cell.inputs.index(int(n[2])) for n in numbers if n and n[1] == "x"]
    return sorted(set(found))
