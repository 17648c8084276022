"""Every path of an LSTM against the equations in double precision, and which of them is taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nmt.kernels.lstm import (
    State,
    bounded_lstm,
    lstm,
    lstm_cell,
    pytorch_lstm,
)
from nmt.kernels.lstm_cpu import wide_lstm

Function = Callable[[nn.LSTM, Tensor, State], tuple[Tensor, State]]
SIZES = [(1, 1, 1, 1), (4, 7, 12, 6), (3, 2, 5, 8), (1, 9, 3, 3)]  # B, time, I, H
FUNCTIONS: dict[str, Function] = {
    "pytorch": pytorch_lstm,
    "wide": wide_lstm,
    "bounded": lambda layer, x, state: bounded_lstm(layer, x, state, 100.0),
}


def data(
    sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> tuple[nn.LSTM, Tensor, tuple[Tensor, Tensor]]:
    """A layer, an input, and a state to start from."""
    B, T, I, H = sizes  # noqa: E741
    torch.manual_seed(0)
    layer = nn.LSTM(I, H, batch_first=True).to(dtype)
    x, h, c = torch.randn(B, T, I), torch.randn(B, H), torch.randn(B, H)
    return layer, x.to(dtype).requires_grad_(), (h.to(dtype), c.to(dtype))


def equations(layer: nn.LSTM, x: Tensor, state: State, bound: float = 1e9) -> tuple[Tensor, State]:
    """Hochreiter & Schmidhuber with forget gates, as written on paper."""
    W, U, b_W, b_U = layer.parameters()
    h, c = state or (x.new_zeros(len(x), layer.hidden_size), x.new_zeros(len(x), layer.hidden_size))
    outputs = []
    for x_t in x.unbind(1):
        i, f, g, o = (x_t @ W.T + b_W + h @ U.T + b_U).chunk(4, 1)
        c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-bound, bound)
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


def everything(function: Function, layer: nn.LSTM, x: Tensor, state: State) -> list[Tensor]:
    """Output and state after it, then the gradients of everything, from gradients that differ at
    every place."""
    state = tuple(s.clone().requires_grad_() for s in state)
    output, after = function(layer, x, state)
    outputs = [output, *after]
    weights = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape) for y in outputs]
    found = torch.autograd.grad(outputs, [x, *state, *layer.parameters()], weights)
    return [*outputs, *found]


@pytest.mark.parametrize("from_state", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("path", FUNCTIONS)
def test_every_path_equals_the_equations(
    path: str, sizes: tuple[int, int, int, int], from_state: bool
) -> None:
    layer, x, state = data(sizes, torch.float64)
    given = state if from_state else ()
    expected = everything(equations, layer, x, given)
    found = everything(FUNCTIONS[path], layer, x, given)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("path", ["pytorch", "wide"])
def test_bf16_is_as_exact_as_bf16_can_be(path: str) -> None:
    exact, x, state = data((4, 7, 12, 6), torch.float64)
    rounded, x_16, state_16 = data((4, 7, 12, 6), torch.bfloat16)
    expected = everything(equations, exact, x, state)
    for ours, theirs in zip(
        everything(FUNCTIONS[path], rounded, x_16, state_16), expected, strict=True
    ):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("bound", [0.05, 0.4])
def test_bounded_cells(bound: float) -> None:
    layer, x, state = data((4, 7, 12, 6), torch.float64)
    state = tuple(s.clamp(-bound, bound) for s in state)  # type: ignore[assignment]
    found = everything(lambda layer, x, state: lstm(layer, x, state, bound), layer, x, state)
    expected = everything(
        lambda layer, x, state: equations(layer, x, state, bound), layer, x, state
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert float(found[2].detach().abs().max()) == bound, "or the bound would not have mattered"


def test_the_state_of_a_part_continues_the_sequence() -> None:
    layer, x, _ = data((2, 6, 4, 3), torch.float64)
    for function in FUNCTIONS.values():
        whole, (h, c) = function(layer, x, ())
        first, state = function(layer, x[:, :2], ())
        second, (last_h, last_c) = function(layer, x[:, 2:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), whole)
        torch.testing.assert_close((last_h, last_c), (h, c))


def test_only_training_in_bf16_takes_the_wide_path(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def noted(layer: nn.LSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
        taken.append((x.dtype, x.shape[2]))
        return wide_lstm(layer, x, state)

    monkeypatch.setattr("nmt.kernels.lstm.wide_lstm", noted)
    kinds = itertools.product([torch.bfloat16, torch.float32], [12, 6], [True, False])
    for dtype, width, training in kinds:
        layer, x, _ = data((2, 3, width, 6), dtype)
        with torch.set_grad_enabled(training):
            lstm(layer, x, ())
            lstm(layer, x, (), bound=1.0)
    assert taken == [(torch.bfloat16, 12)]


def doubled(layer: nn.LSTM, x: Tensor, h: Tensor) -> Tensor:
    """Gates of one step with the cell's rows doubled."""
    W, U, b_W, b_U = layer.parameters()
    gates = x @ W.T + b_W + h @ U.T + b_U
    gates.view(len(x), 4, -1)[:, 2] *= 2
    return gates


@pytest.mark.parametrize("bound", [None, 0.3])
@pytest.mark.parametrize(("rows", "units"), [(1, 1), (5, 7), (64, 33)])
def test_one_step_of_decoding(rows: int, units: int, bound: float | None) -> None:
    layer, x, (h, c) = data((rows, 1, 4, units), torch.float64)
    c = c if bound is None else c.clamp(-bound, bound)
    with torch.no_grad():
        _, (wanted_h, wanted_c) = equations(layer, x, (h, c), bound or 1e9)
        gates = doubled(layer, x[:, 0], h).float()
        before = c.float()
        next_h, next_c = lstm_cell(gates.clone(), before, bound)
        torch.testing.assert_close(next_h, wanted_h.float(), rtol=0, atol=2e-6)
        torch.testing.assert_close(next_c, wanted_c.float(), rtol=0, atol=2e-6)
        assert torch.equal(before, c.float()), "the state before is another request's, too"
        out = torch.empty(rows, units)
        given_back, _ = lstm_cell(gates, before, bound, out)
    assert given_back is out
    assert torch.equal(out, next_h)


def test_saturated_gates_stay_finite() -> None:
    gates = torch.tensor([[200.0, -200.0, 400.0, 200.0], [-200.0, 200.0, -400.0, -200.0]])
    h, c = lstm_cell(gates, torch.tensor([[3.0], [3.0]]), None)
    torch.testing.assert_close(c, torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(h, torch.tensor([[1.0], [0.0]]).tanh())


@pytest.mark.parametrize("path", FUNCTIONS)
def test_long_sequences(path: str) -> None:
    layer, x, state = data((2, 60, 3, 4), torch.float64)
    expected = everything(equations, layer, x, state)
    for ours, theirs in zip(everything(FUNCTIONS[path], layer, x, state), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_wide_path_changes_nothing_that_it_is_given() -> None:
    layer, x, state = data((3, 5, 8, 4), torch.float64)
    given = [x, *state, *layer.parameters()]
    before = [tensor.detach().clone() for tensor in given]
    output, _ = wide_lstm(layer, x, state)
    output.sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_the_wide_path_of_inputs_that_are_not_contiguous() -> None:
    layer, x, state = data((3, 5, 8, 4), torch.float64)
    turned = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    weights = torch.linspace(-1, 1, 3 * 5 * 4, dtype=torch.float64).view(5, 3, 4).transpose(0, 1)
    found, _ = wide_lstm(layer, turned, state)
    expected, _ = pytorch_lstm(layer, x, state)
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found, turned, weights)
    (theirs,) = torch.autograd.grad(expected, x, weights)
    torch.testing.assert_close(ours, theirs)


def test_gradients_through_the_wide_path_equal_finite_differences() -> None:
    layer, x, (h, c) = data((2, 3, 3, 2), torch.float64)
    parameters = [p.detach().requires_grad_() for p in layer.parameters()]

    names = [f"layer.{name}" for name, _ in layer.named_parameters()]

    def run(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> Tensor:
        values = dict(zip(names, weights, strict=True))
        found: Tensor = torch.func.functional_call(_Wide(layer), values, (x, h, c))
        return found

    inputs = (x.detach().requires_grad_(), h.requires_grad_(), c.requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(run, inputs)


class _Wide(nn.Module):
    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        output, (last_h, last_c) = wide_lstm(self.layer, x, (h, c))
        return torch.cat([output.flatten(), last_h.flatten(), last_c.flatten()])
