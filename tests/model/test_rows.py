import torch

from nmt.model.rows import quantise


def test_each_row_has_its_own_scale() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [1e-3, 2e-3, -254e-3]])
    values, scales = quantise(weight)
    assert values.dtype == torch.int8
    torch.testing.assert_close(scales[[0, 2]], torch.tensor([2 / 127, 2e-3]))
    assert values.tolist() == [[64, -127, 32], [0, 0, 0], [0, 1, -127]]


def test_a_second_time_changes_nothing() -> None:
    weight = torch.randn(50, 40, generator=torch.Generator().manual_seed(1))
    values, scales = quantise(weight)
    restored = values * scales[:, None]
    assert float((restored - weight).abs().max()) <= 0.5001 * float(scales.max())
    again, same = quantise(restored)
    assert torch.equal(again, values)
    torch.testing.assert_close(same, scales)
