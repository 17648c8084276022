"""Recurrent cells that are written as text, over whole sequences.

On a CPU in fp32, what happens between two products is C that the machine's compiler builds once:
one pass over a step's numbers forward and one backward. The products with the state are one for all
gates, those with the input and the gradients of the weights one for all time steps. Elsewhere, and
without a compiler, PyTorch's operations do the same.

T time steps, B sentences, H units, X and Y products with the input and with the state.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels.compiled import compiled
from nmt.kernels.native import ELEMENTARY
from nmt.rules.cell_code import c_code
from nmt.rules.cells import Cell, evaluate, read_cell

State = tuple[Tensor, ...]

OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "negative": lambda x: -x,
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "relu": lambda x: x.relu(),
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
}


@dataclass(frozen=True)
class CompiledCell:
    """The functions of `nmt.rules.cell_code`."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    address: int  # of the first one


@cache
def compiled_cell(text: str) -> CompiledCell | None:
    """A cell as compiled code; None where it cannot be built."""
    library = compiled("recurrent cells", c_code(read_cell(text)), (ELEMENTARY,))
    if library is None:
        return None
    sizes, pointer = [ctypes.c_long, ctypes.c_long], ctypes.c_void_p
    for function, pointers in ((library.nmt_cell, 6), (library.nmt_cell_gradients, 10)):
        function.argtypes = [*sizes, *[pointer] * pointers, ctypes.c_int]
        function.restype = None
    address = ctypes.cast(library.nmt_cell, pointer).value
    assert address is not None, "a function has an address"
    return CompiledCell(library.nmt_cell, library.nmt_cell_gradients, address)


def cell_sequence(
    text: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, state: State
) -> tuple[Tensor, State]:
    """A cell over whole sequences: products with the input x (T, B, X * H), the weights of those
    with the state (Y * H, H) and their bias (Y * H,), None if there are none, and the state (h,)
    or (h, c), each (B, H) → (T, B, H) and the state after the last step."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        code = compiled_cell(text)
        if code is not None:
            memory = state[1] if len(state) > 1 else None
            output, c = _Scan.apply(code, x, weight, bias, state[0], memory)  # type: ignore[no-untyped-call]
            return output, (output[-1],) if c is None else (output[-1], c)
    outputs = []
    for step in x.unbind():
        products = None if weight is None else F.linear(state[0], weight, bias)
        state = cell_step(read_cell(text), step, products, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def cell_step(cell: Cell, x: Tensor, products: Tensor | None, state: State) -> State:
    """One step by PyTorch's operations: products with the input (B, X * H) and with the state
    (B, Y * H), and the state → the next one."""
    variables: dict[str, Any] = {"h": state[0], "c": state[-1]}
    given = ((x, "x", cell.inputs), (products, "h", cell.states))
    for product, kind, numbers in given:
        if product is not None and numbers:
            parts = product.chunk(len(numbers), -1)
            variables |= {f"{kind}{n}": part for n, part in zip(numbers, parts, strict=True)}

    def call(name: str, arguments: list[Any]) -> Any:
        if all(isinstance(one, float) for one in arguments):
            arguments = [torch.tensor(one, dtype=x.dtype, device=x.device) for one in arguments]
        return OPERATIONS[name](*arguments)

    h, c = evaluate(cell, variables, float, call)
    return (_like(h, state[0]),) if c is None else (_like(h, state[0]), _like(c, state[0]))


def _like(value: Any, state: Tensor) -> Tensor:
    """A value that may be a number, as a tensor of the state's shape."""
    return value if isinstance(value, Tensor) else torch.full_like(state, value)


class _Scan(torch.autograd.Function):
    """All time steps on a CPU."""

    @staticmethod
    def forward(
        ctx: Any, code: CompiledCell, *given: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x, weight, bias, h, c = given
        assert x is not None, "there are products with the input"
        assert h is not None, "there is a state"
        x = x.contiguous()
        T, B, H = len(x), h.shape[0], h.shape[1]
        hidden = x.new_empty(T + 1, B, H)  # before the first step, and after each
        hidden[0] = h
        cells = None if c is None else x.new_empty(T + 1, B, H)
        if cells is not None and c is not None:
            cells[0] = c
        products = x.new_empty(T, B, 0 if weight is None else len(weight))
        transposed = None if weight is None else weight.t()
        at, threads = _addresses(x, products, hidden, cells), torch.get_num_threads()
        for t in range(T):
            if transposed is not None and bias is not None:
                torch.addmm(bias, hidden[t], transposed, out=products[t])
            code.forward(
                B, H, at(x, t), at(products, t), at(hidden, t), at(cells, t),
                at(hidden, t + 1), at(cells, t + 1), threads,
            )  # fmt: skip
        ctx.code, ctx.has_memory = code, cells is not None
        ctx.save_for_backward(x, weight, products, hidden, cells)
        return hidden[1:], None if cells is None else cells[T].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, products, hidden, cells = ctx.saved_tensors
        by_output, by_memory = gradients
        assert by_output is not None, "the output is used"
        T, B, H = len(x), hidden.shape[1], hidden.shape[2]
        by_x, by_products = torch.empty_like(x), torch.empty_like(products)
        by_outputs = by_output.contiguous()
        by_h, by_direct = hidden.new_empty(B, H), hidden.new_zeros(B, H)
        by_c = None
        if cells is not None:
            by_c = torch.zeros_like(cells[0]) if by_memory is None else by_memory.clone()
        at = _addresses(x, products, hidden, cells, by_x, by_products, by_h, by_c, by_direct)
        threads = torch.get_num_threads()
        for t in reversed(range(T)):
            torch.add(by_outputs[t], by_direct, out=by_h)
            ctx.code.backward(
                B, H, at(x, t), at(products, t), at(hidden, t), at(cells, t),
                at(by_h), at(by_c), at(by_x, t), at(by_products, t), at(by_direct), at(by_c),
                threads,
            )  # fmt: skip
            if weight is not None:
                by_direct.addmm_(by_products[t], weight)
        by_weight = by_bias = None
        if weight is not None:
            flat = by_products.view(T * B, -1)
            by_weight, by_bias = flat.t() @ hidden[:T].view(T * B, H), flat.sum(0)
        return None, by_x, by_weight, by_bias, by_direct, by_c


def _addresses(*tensors: Tensor | None) -> Callable[..., int | None]:
    """A function that gives a tensor's address, or that of a row of it. It is called many times,
    and PyTorch takes longer to tell it."""
    known = {
        id(one): (one.data_ptr(), one.stride(0) * one.element_size())
        for one in tensors
        if one is not None
    }

    def at(tensor: Tensor | None, row: int = 0) -> int | None:
        if tensor is None:
            return None
        start, size = known[id(tensor)]
        return start + row * size

    return at
