"""Products of training on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels.products import BLOCK, UNIT, can_pack, linear, pack, padded, product


def gradients(
    function: object, x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    assert callable(function)
    given = [one.clone().requires_grad_() for one in (x, weight, bias) if one is not None]
    output = function(*given)
    direction = torch.linspace(0, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return output.detach(), list(torch.autograd.grad(output, given, direction))


@pytest.mark.parametrize("rows", [1, UNIT - 1, UNIT, BLOCK + 7])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_equals_pytorch_s(rows: int, with_bias: bool) -> None:
    torch.manual_seed(rows)
    x, weight = torch.randn(3, rows, 20).double(), torch.randn(30, 20).double()
    bias = torch.randn(30).double() if with_bias else None
    expected, expected_gradients = gradients(F.linear, x, weight, bias)
    single = bias.float() if bias is not None else None
    output, found = gradients(linear, x.float(), weight.float(), single)
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, expected_gradients, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() < 1e-5 * other.norm()


def test_only_training_in_fp32_is_done_so(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.dtype] = []

    def noted(x: Tensor, *more: Tensor) -> Tensor:
        taken.append(x.dtype)
        return F.linear(x, *more)

    monkeypatch.setattr("nmt.kernels.products._Linear.apply", noted)
    weight = torch.ones(3, 2)
    linear(torch.ones(4, 2), weight)
    linear(torch.ones(4, 2).double(), weight.double())
    linear(torch.ones(4, 2).bfloat16(), weight.bfloat16())
    with torch.no_grad():
        linear(torch.ones(4, 2), weight)
    assert linear(torch.ones(0, 2), weight).shape == (0, 3)
    assert taken == [torch.float32]


def test_what_needs_no_gradient_gets_none() -> None:
    x, weight = torch.ones(4, 2), torch.ones(3, 2, requires_grad=True)
    linear(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.full((3, 2), 4.0))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 7, 5), (64, 33, 130), (513, 12, 9)])  # R, K, N
def test_odd_sizes(sizes: tuple[int, int, int]) -> None:
    rows, columns, outputs = sizes
    torch.manual_seed(rows)
    x, weight = torch.randn(rows, columns), torch.randn(outputs, columns)
    bias = torch.randn(outputs)
    exact = F.linear(x.double(), weight.double(), bias.double())
    for laid_out in (weight, pack(weight)):
        found = product(x, laid_out, bias)
        assert float((found.double() - exact).norm() / exact.norm()) < 1e-6
    if not can_pack(torch.bfloat16):
        return
    low = product(x.bfloat16(), pack(weight.bfloat16()), bias.bfloat16())
    assert low.dtype == torch.bfloat16
    assert float((low.double() - exact).norm() / exact.norm()) < 0.02


def test_inputs_of_any_shape() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 4), torch.randn(6)
    for shape in [(4,), (5, 4), (2, 3, 4), (2, 1, 5, 4)]:
        x = torch.randn(*shape)
        found = linear(x, weight, bias)
        assert found.shape == (*shape[:-1], 6)
        torch.testing.assert_close(found, F.linear(x, weight, bias))


def test_gradients_that_are_not_contiguous() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(70, 8), torch.randn(16, 8, requires_grad=True)
    linear(x, weight).t().cumsum(0).sum().backward()
    found = weight.grad
    other = weight.detach().double().requires_grad_()
    F.linear(x.double(), other).t().cumsum(0).sum().backward()
    assert found is not None
    assert other.grad is not None
    assert float((found.double() - other.grad).norm()) < 1e-5 * float(other.grad.norm())


def test_rows_of_zeros() -> None:
    x = torch.ones(3, 2)
    assert padded(x, 3) is x
    assert padded(x, 5).tolist() == [[1, 1]] * 3 + [[0, 0]] * 2
