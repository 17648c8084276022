"""Layers with a cell of one's own against PyTorch's layers and against PyTorch's operations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.kernels import cell as kernel
from nmt.kernels.cell import cell_sequence, cell_step, compiled_cell
from nmt.model.cell import CellLayer
from nmt.model.context import EVALUATION
from nmt.rules.cells import KNOWN_CELLS, read_cell
from tests.cells import OWN

B, T, W, H = 5, 7, 12, 20
TEXTS = {**KNOWN_CELLS, **OWN}


def layer(text: str, width: int = W, residuals: int = 0, reverse: bool = False) -> CellLayer:
    torch.manual_seed(0)
    made = CellLayer("layer", width, H, 0.0, residuals, 1, None, reverse, text=text)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.4, 0.4)
    return made


def inputs(width: int = W) -> Tensor:
    return torch.randn(B, T, width, generator=torch.manual_seed(1), requires_grad=True)


def gradients(output: Tensor, of: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(output.shape, generator=torch.manual_seed(2)).to(output.dtype)
    return list(torch.autograd.grad((output * weights).sum(), of))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_lstm_and_gru_are_pytorch_s(
    name: str, kind: type[nn.LSTM] | type[nn.GRU], dtype: torch.dtype
) -> None:
    made = layer(KNOWN_CELLS[name]).to(dtype)
    reference = kind(W, H, batch_first=True).to(dtype)
    reference.load_state_dict({f"{key}_l0": value for key, value in made.state_dict().items()})
    x = inputs().to(dtype)
    output, state, losses = made([x], (), EVALUATION)
    expected, last = reference(x)
    assert not losses
    torch.testing.assert_close(output, expected)
    lasts = last if isinstance(last, tuple) else (last,)
    for one, wanted in zip(state, lasts, strict=True):
        torch.testing.assert_close(one, wanted[0])
    names = [key for key, _ in made.named_parameters()]
    found = gradients(output, [x, *made.parameters()])
    others = dict(reference.named_parameters())
    wanted_ones = gradients(expected, [x, *(others[f"{key}_l0"] for key in names)])
    for one, wanted in zip(found, wanted_ones, strict=True):
        torch.testing.assert_close(one, wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_compiled_code_does_what_pytorch_s_operations_do(
    text: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_cell(text) is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    steps: list[int] = []

    def noted(*given: Any) -> Any:
        steps.append(1)
        return cell_step(*given)

    monkeypatch.setattr(kernel, "cell_step", noted)
    made, x = layer(text), inputs()
    fast, fast_state, _ = made([x], (), EVALUATION)
    fast_gradients = gradients(fast + fast_state[-1][:, None], [x, *made.parameters()])
    assert not steps, "compiled code makes them"
    monkeypatch.setattr(kernel, "compiled_cell", lambda _: None)
    slow, slow_state, _ = made([x], (), EVALUATION)
    assert len(steps) == T
    torch.testing.assert_close(fast, slow)
    for one, wanted in zip(fast_state, slow_state, strict=True):
        torch.testing.assert_close(one, wanted)
    slow_gradients = gradients(slow + slow_state[-1][:, None], [x, *made.parameters()])
    for one, wanted in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bounds", [(0, 3, 7), (0, 1, 2, 3, 4, 5, 6, 7)])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_chunks_of_time_with_the_state_handed_on_equal_the_whole(
    text: str, bounds: tuple[int, ...]
) -> None:
    made, x = layer(text), inputs()
    whole, last, _ = made([x], (), EVALUATION)
    state: tuple[Tensor, ...] = ()
    chunks = []
    for first, end in itertools.pairwise(bounds):
        chunk, state, _ = made([x[:, first:end]], state, EVALUATION)
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, 1), whole)
    for one, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(one, wanted)
    parameters = [x, *made.parameters()]
    for one, wanted in zip(
        gradients(torch.cat(chunks, 1), parameters), gradients(whole, parameters), strict=True
    ):
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-5)


def test_residuals_and_reading_from_the_end() -> None:
    halves = inputs(2 * H).split(H, -1)
    forward = layer(OWN["odd"], 2 * H, residuals=1)
    plain = layer(OWN["odd"], 2 * H)
    found = forward(halves, (), EVALUATION).value
    torch.testing.assert_close(found, plain(halves, (), EVALUATION).value + halves[0])
    lengths = torch.tensor([7, 2, 5, 1, 7])
    backward = layer(OWN["odd"], reverse=True)
    x = inputs()
    got = backward([x, lengths], (), EVALUATION).value
    same = layer(OWN["odd"])
    for row, length in enumerate(lengths.tolist()):
        turned = x[row : row + 1, :length].flip(1)
        expected = same([turned], (), EVALUATION).value.flip(1)
        torch.testing.assert_close(got[row : row + 1, :length], expected)


def test_gates_of_the_memory_start_open() -> None:
    made = CellLayer("layer", W, H, 0.0, 0, 1, text=KNOWN_CELLS["lstm"])
    values = made.initial_values()
    assert values.keys() == dict(made.named_parameters()).keys()
    start = values["bias_ih"](made.bias_ih.shape, torch.Generator()).view(4, H)
    assert start[1].eq(1).all()
    assert not start[[0, 2, 3]].any()
    other = CellLayer("layer", W, H, 0.0, 0, 1, text=KNOWN_CELLS["gru"]).initial_values()
    assert not other["bias_ih"](torch.Size([3 * H]), torch.Generator()).any()


def test_only_what_a_cell_uses_has_weights() -> None:
    made = layer(OWN["odd"])
    assert made.weight_ih.shape == (4 * H, W)
    assert made.weight_hh.shape == (3 * H, H)  # h0, h1 and h4
    assert "weight_hh" not in dict(layer(OWN["products of the input"]).named_parameters())


def test_a_state_that_does_not_depend_on_the_input_is_as_large_as_any() -> None:
    text = "c = 0.5; h = sigmoid(x0) * c"
    assert read_cell(text).memory is not None
    x = torch.randn(T, B, H, generator=torch.manual_seed(3))
    zero = torch.zeros(B, H)
    for kind in (torch.float32, torch.float64):
        output, (h, c) = cell_sequence(text, x.to(kind), None, None, (zero.to(kind),) * 2)
        assert output.shape == (T, B, H)
        assert torch.equal(h, output[-1])
        assert c.eq(0.5).all()
        assert c.shape == (B, H)
