import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.errors import ConfigurationError
from nmt.precision.formats import FloatFormat, Int8Format, format_of, require, rounded_up
from nmt.precision.int8 import has_int8

R, K, N = 5, 12, 7


@pytest.fixture
def matrix() -> tuple[Tensor, Tensor, Tensor]:
    """x (R, K) within 2 and then within 0.5, weight (N, K), bias (N,)."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(R, K, generator=generator) * 2 - 1
    x[:, :4] *= 2
    x[:, 4:] *= 0.5
    return x, torch.randn(N, K, generator=generator), torch.randn(N, generator=generator)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("rows", [1, 2, 64, 65, 320, 321, 700])
def test_float_products(
    matrix: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype, tolerance: float, rows: int
) -> None:
    x, weight, bias = matrix
    x = x.repeat(rows, 1)[:rows] + torch.arange(rows)[:, None] / rows
    form = FloatFormat(dtype)
    codes = form.encode(x, 1.0)
    got = form.linear(weight, bias, [(K, 1.0)])(codes)
    assert got.dtype == codes.dtype == dtype
    torch.testing.assert_close(got.float(), F.linear(x, weight, bias), rtol=0, atol=tolerance)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_products_are_those_of_the_rounded_numbers(
    matrix: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, weight, bias = matrix
    form = Int8Format()
    codes = torch.cat([form.encode(x[:, :4], 2.0), form.encode(x[:, 4:], 0.5)], 1)
    assert codes.dtype == torch.uint8
    inputs = [(4, 2.0), (8, 0.5)]
    units = torch.tensor([2 / 127] * 4 + [0.5 / 127] * 8, dtype=torch.float64)
    scaled = weight.double() * units
    scales = scaled.abs().amax(1) / 127
    rounded = (scaled / scales[:, None]).round()
    assert int(rounded.abs().max()) == 127
    expected = F.linear(codes.double() - 128, rounded) * scales + bias.double()
    got = form.linear(weight, bias, inputs)(codes)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    exact = F.linear(x, weight, bias)
    assert 0 < float((got - exact).abs().max()) < 0.1
    some = form.weights(weight, bias, inputs).rows(torch.tensor([4, 1]))
    assert torch.equal(form.prepared(some)(codes), got[:, [4, 1]])


def test_int8_codes() -> None:
    form = Int8Format()
    over = 2.0 * (1 + 1e-5)  # by rounding
    x = torch.tensor([-over, -2.0, -0.009, -0.007, 0.0, 0.007, 0.009, 2.0, over])
    codes = form.encode(x, 2.0)  # units of 0.0157: half of one is 0.0079
    assert codes.tolist() == [1, 1, 127, 128, 128, 128, 129, 255, 255]
    values = form.decode(codes, 2.0)
    assert float(values.max()) == -float(values.min()) == pytest.approx(2.0)
    assert torch.equal(form.encode(values, 2.0), codes)
    sums = form.add([codes, codes], [2.0, 1.0])
    torch.testing.assert_close(sums, 1.5 * values)


def test_few_numbers_of_rows_are_met() -> None:
    sizes = {rounded_up(rows) for rows in range(1, 321)}
    assert len(sizes) == 50
    assert all(rows <= rounded_up(rows) < 1.125 * rows + 1 for rows in range(1, 321))
    assert sizes >= set(range(1, 17)) | {18, 64, 72, 288, 320}


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_in_blocks(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    _, weight, bias = matrix
    form, x = Int8Format(), torch.rand(700, K, generator=torch.Generator().manual_seed(1))
    codes = form.encode(x, 1.0)
    linear = form.linear(weight, bias, [(K, 1.0)])
    expected = torch.cat([linear(row[None]) for row in codes])
    torch.testing.assert_close(linear(codes), expected, rtol=0, atol=1e-5)


def test_names() -> None:
    assert isinstance(format_of("int8"), Int8Format)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        form = format_of(name)  # type: ignore[arg-type]
        assert isinstance(form, FloatFormat)
        assert form.dtype == dtype
        assert form.rounds == (name == "bf16")


def test_what_a_processor_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx_vnni": False})
    require("fp32", "cpu", emulate=False)
    with pytest.raises(
        ConfigurationError, match=r"`precision` must be fp32 on this processor.*int8"
    ):
        require("int8", "cpu", emulate=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx_vnni": True})
    require("int8", "cpu", emulate=False)
    with pytest.raises(ConfigurationError, match=r"must be bf16 or fp32 on `cuda:0`, but is int8"):
        require("int8", "cuda:0", emulate=False)
