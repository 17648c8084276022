import pytest
import torch

from nmt.model.clip import LOGITS, Clip
from nmt.model.context import EVALUATION, ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output


def at_step(step: int) -> ForwardContext:
    return ForwardContext(0, (2, 3, 3), Randomness(1, step))


@pytest.mark.parametrize(
    ("step", "bound"), [(0, 8.0), (50, 4.5), (99, 1.07), (100, 1.0), (5000, 1.0)]
)
def test_the_range_narrows(step: int, bound: float) -> None:
    clip = Clip(bound=1.0, start=8.0, steps=100)
    assert clip.at(at_step(step)) == pytest.approx(bound)
    assert clip.at(EVALUATION) == 1.0
    assert Clip.fixed(2.0).at(at_step(step)) == 2.0


def test_no_gradient_passes_outside() -> None:
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    y = Clip.fixed(1.0)(x, EVALUATION)
    assert y.tolist() == [-1.0, -0.5, 0.5, 1.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_layer_with_residual_connections_stays_within() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4) * 3
    clip = Clip(bound=0.7, start=5.0, steps=10)
    layer = LstmLayer("layer", 4, 4, 0.0, 1, 1, clip)
    free = LstmLayer("layer", 4, 4, 0.0, 1, 1)
    free.load_state_dict(layer.state_dict())
    expected = free([x], (), EVALUATION).value
    for context, bound in ((EVALUATION, 0.7), (at_step(0), 5.0)):
        output = layer([x], (), context).value
        assert float(output.detach().abs().max()) == pytest.approx(
            min(bound, float(expected.detach().abs().max()))
        )
        torch.testing.assert_close(output, expected.clamp(-bound, bound))
    alone = LstmLayer("layer", 4, 4, 0.0, 0, 1, clip)
    assert alone.clip is None  # an LSTM's output is within 1 as it is


def test_logits_stay_within() -> None:
    output = Output("output", 2, 3, 0.0, clipped=True)
    with torch.no_grad():
        output.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [100, 0]]))
        output.bias.zero_()
    assert output.logits(torch.tensor([1.0, -50.0])).tolist() == [1.0, -LOGITS, LOGITS]


@pytest.mark.parametrize("reverse", [False, True])
def test_cells_are_bounded_from_a_step_on(reverse: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 4), *([torch.tensor([3, 2])] if reverse else [])]
    clip = Clip(bound=0.2, start=0.2, steps=0, cells_from=5)
    layer = LstmLayer("layer", 4, 4, 0.0, 0, 1, clip, reverse)
    free = LstmLayer("layer", 4, 4, 0.0, 0, 1, reverse=reverse)
    free.load_state_dict(layer.state_dict())
    expected = free(inputs, (), EVALUATION).value
    torch.testing.assert_close(layer(inputs, (), at_step(4)).value, expected)
    for context in (at_step(5), EVALUATION):
        output = layer(inputs, (), context).value
        assert not torch.allclose(output, expected)
        # h is at most the output gate times tanh(0.2)
        assert float(output.detach().abs().max()) < 0.1974
