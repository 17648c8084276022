"""Weights in one block."""

import pytest
import torch
from torch import nn

from nmt.kernels.cudnn import flatten_weights

KINDS: list[type[nn.LSTM | nn.GRU]] = [nn.LSTM, nn.GRU]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_on_a_cpu_stay_where_they_are(kind: type[nn.LSTM | nn.GRU]) -> None:
    layer = kind(2, 3, batch_first=True).bfloat16()
    before = {name: (p.data_ptr(), p.clone()) for name, p in layer.named_parameters()}
    flatten_weights(nn.ModuleList([layer, nn.Linear(2, 2)]))
    for name, parameter in layer.named_parameters():
        place, value = before[name]
        assert parameter.data_ptr() == place
        assert torch.equal(parameter, value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_flat_weights_on_a_gpu_are_the_same(kind: type[nn.LSTM | nn.GRU]) -> None:
    layer = kind(8, 6, batch_first=True).cuda().bfloat16()
    x = torch.randn(2, 5, 8, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        expected = layer(x)[0]
        flatten_weights(layer)
        found = layer(x)[0]
    assert torch.equal(found, expected)
    block = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    assert len(block) == 1
