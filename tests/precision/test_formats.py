import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.errors import ConfigurationError
from nmt.precision.formats import (
    FloatFormat,
    Format,
    Int8Format,
    PackedLinear,
    PlainLinear,
    Weights,
    format_of,
    require,
    rounded_up,
)
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
    number_format = FloatFormat(dtype)
    codes = number_format.encode(x, 1.0)
    got = number_format.linear(weight, bias, [(K, 1.0)])(codes)
    assert got.dtype == codes.dtype == dtype
    torch.testing.assert_close(got.float(), F.linear(x, weight, bias), rtol=0, atol=tolerance)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_products_are_those_of_the_rounded_numbers(
    matrix: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, weight, bias = matrix
    number_format = Int8Format()
    codes = torch.cat([number_format.encode(x[:, :4], 2.0), number_format.encode(x[:, 4:], 0.5)], 1)
    assert codes.dtype == torch.uint8
    inputs = [(4, 2.0), (8, 0.5)]
    units = torch.tensor([2 / 127] * 4 + [0.5 / 127] * 8, dtype=torch.float64)
    scaled = weight.double() * units
    scales = scaled.abs().amax(1) / 127
    rounded = (scaled / scales[:, None]).round()
    assert int(rounded.abs().max()) == 127
    expected = F.linear(codes.double() - 128, rounded) * scales + bias.double()
    got = number_format.linear(weight, bias, inputs)(codes)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    exact = F.linear(x, weight, bias)
    assert 0 < float((got - exact).abs().max()) < 0.1
    some = number_format.weights(weight, bias, inputs).rows(torch.tensor([4, 1]))
    assert torch.equal(number_format.prepared(some)(codes), got[:, [4, 1]])


def test_int8_codes() -> None:
    number_format = Int8Format()
    over = 2.0 * (1 + 1e-5)  # by rounding
    x = torch.tensor([-over, -2.0, -0.009, -0.007, 0.0, 0.007, 0.009, 2.0, over])
    codes = number_format.encode(x, 2.0)  # units of 0.0157: half of one is 0.0079
    assert codes.tolist() == [1, 1, 127, 128, 128, 128, 129, 255, 255]
    values = number_format.decode(codes, 2.0)
    assert float(values.max()) == -float(values.min()) == pytest.approx(2.0)
    assert torch.equal(number_format.encode(values, 2.0), codes)
    sums = number_format.add([codes, codes], [2.0, 1.0])
    torch.testing.assert_close(sums, 1.5 * values)


def test_few_numbers_of_rows_are_met() -> None:
    sizes = {rounded_up(rows) for rows in range(1, 321)}
    assert len(sizes) == 50
    assert all(rows <= rounded_up(rows) < 1.125 * rows + 1 for rows in range(1, 321))
    assert sizes >= set(range(1, 17)) | {18, 64, 72, 288, 320}


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_in_blocks(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    _, weight, bias = matrix
    number_format, x = Int8Format(), torch.rand(700, K, generator=torch.Generator().manual_seed(1))
    codes = number_format.encode(x, 1.0)
    linear = number_format.linear(weight, bias, [(K, 1.0)])
    expected = torch.cat([linear(row[None]) for row in codes])
    torch.testing.assert_close(linear(codes), expected, rtol=0, atol=1e-5)


def test_names() -> None:
    assert isinstance(format_of("int8"), Int8Format)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        number_format = format_of(name)  # type: ignore[arg-type]
        assert isinstance(number_format, FloatFormat)
        assert number_format.dtype == dtype
        assert number_format.rounds == (name == "bf16")


def test_float_values_are_their_own_codes() -> None:
    x = torch.tensor([-3.0, 0.1, 7.0])
    fp32, bf16 = FloatFormat(torch.float32), FloatFormat(torch.bfloat16)
    assert fp32.encode(x, 0.5) is x, "the bound does not matter"
    assert fp32.decode(x, 0.5) is x
    assert torch.equal(bf16.encode(x, 0.5), x.bfloat16())
    torch.testing.assert_close(bf16.add([x.bfloat16(), x.bfloat16()], [1.0, 1.0]), 2 * x.bfloat16())


@pytest.mark.parametrize("bound", [0.01, 1.0, 50.0])
def test_int8_rounds_to_the_nearest_code(bound: float) -> None:
    number_format, unit = Int8Format(), bound / 127
    x = torch.linspace(-bound, bound, 1001)
    values = number_format.decode(number_format.encode(x, bound), bound)
    assert float((values - x).abs().max()) <= unit * 0.5001
    assert number_format.encode(torch.zeros(2), bound).tolist() == [128, 128]
    assert not number_format.rounds


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 17, 320, 333])
@pytest.mark.parametrize("sizes", [(1, 1), (13, 5), (64, 100), (7, 129)])  # K, N
def test_odd_sizes(sizes: tuple[int, int], rows: int, bias: bool) -> None:
    columns, outputs = sizes
    torch.manual_seed(columns)
    x, weight = torch.rand(rows, columns) * 2 - 1, torch.randn(outputs, columns)
    added = torch.randn(outputs) if bias else None
    exact = F.linear(x.double(), weight.double(), None if added is None else added.double())
    formats: list[tuple[Format, float]] = [
        (FloatFormat(torch.float32), 1e-6),
        (FloatFormat(torch.bfloat16), 0.02),
    ]
    formats += [(Int8Format(), 0.02)] if has_int8() else []
    for number_format, tolerance in formats:
        linear = number_format.linear(weight, added, [(columns, 1.0)])
        codes = number_format.encode(x, 1.0)
        for found in (linear(codes), linear.exact(codes)):
            assert found.shape == (rows, outputs)
            error = float((found.double() - exact).norm() / exact.norm())
            assert error < tolerance, (number_format, error)
        assert linear.exact(codes).dtype == torch.float32


def test_products_without_onednn_are_pytorch_s(
    matrix: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias = matrix
    packed = FloatFormat(torch.float32).linear(weight, bias, [(K, 2.0)])
    assert isinstance(packed, PackedLinear)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = FloatFormat(torch.float32).linear(weight, bias, [(K, 2.0)])
    assert isinstance(plain, PlainLinear)
    torch.testing.assert_close(plain(x), packed(x))
    low = FloatFormat(torch.bfloat16).linear(weight, None, [(K, 2.0)])
    assert low.exact(x.bfloat16()).dtype == torch.float32


def test_weights_of_some_outputs(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = matrix
    number_format, ids = FloatFormat(torch.float32), torch.tensor([6, 0, 2])
    weights = number_format.weights(weight, bias, [(K, 2.0)])
    part = weights.rows(ids)
    assert part.scales is None
    whole = number_format.prepared(weights)(x)
    torch.testing.assert_close(number_format.prepared(part)(x), whole[:, ids])
    without = Weights(weight, torch.arange(7.0), None).rows(ids)
    assert without.bias is None
    assert without.scales is not None
    assert without.scales.tolist() == [6, 0, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bias", [True, False])
def test_products_on_a_gpu(matrix: tuple[Tensor, Tensor, Tensor], bias: bool) -> None:
    x, weight, added = (one.cuda() for one in matrix)
    number_format = FloatFormat(torch.bfloat16)
    linear = number_format.linear(weight, added if bias else None, [(K, 2.0)])
    assert isinstance(linear, PlainLinear)
    exact = linear.exact(x.bfloat16())
    assert exact.dtype == torch.float32
    expected = F.linear(x, weight, added if bias else None)
    torch.testing.assert_close(exact, expected, rtol=0, atol=0.1)


def test_what_a_processor_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx_vnni": False})
    require("fp32", "cpu", emulate=False)
    with pytest.raises(ConfigurationError) as raised:
        require("int8", "cpu", emulate=False)
    assert str(raised.value) == (
        "`precision` must be fp32 on this processor, which has no instructions for int8, but is "
        "int8 instead; use `precision=fp32`, which reads int8 model folders as well."
    )
    with pytest.raises(ConfigurationError, match="must be fp32 on `cpu`, which has no bf16"):
        require("bf16", "cpu", emulate=False)
    require("bf16", "cpu", emulate=True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx_vnni": True})
    require("int8", "cpu", emulate=False)
    with pytest.raises(ConfigurationError, match=r"must be bf16 or fp32 on `cuda:0`, but is int8"):
        require("int8", "cuda:0", emulate=False)
