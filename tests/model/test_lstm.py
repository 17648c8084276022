import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nmt.model.batch import length_mask
from nmt.model.context import EVALUATION
from nmt.model.lstm import LstmLayer
from nmt.model.recurrent import reversal_index

LENGTHS = torch.tensor([5, 2, 7, 1])
B, S, H = 4, 7, 6


def layer(width: int = H, residuals: int = 0, reverse: bool = False) -> LstmLayer:
    torch.manual_seed(0)
    return LstmLayer("layer", width, H, 0.0, residuals, 1, reverse=reverse).double()


def inputs(width: int = H) -> Tensor:
    return torch.randn(B, S, width, dtype=torch.float64, generator=torch.manual_seed(1))


def slow_lstm(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Hochreiter & Schmidhuber with forget gates, as written on paper: (time, ·) → (time, H)."""
    W, U, b_W, b_U = lstm.parameters()
    h = c = torch.zeros(H, dtype=x.dtype)
    outputs = []
    for x_t in x:
        gates = W @ x_t + b_W + U @ h + b_U
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


def test_equals_the_equations() -> None:
    forward, x = layer(), inputs()
    output, (h, c), _ = forward([x], (), EVALUATION)
    assert output.shape == (B, S, H)
    assert h.shape == c.shape == (B, H)
    assert torch.equal(h, output[:, -1])
    for row in range(B):
        torch.testing.assert_close(output[row], slow_lstm(forward.lstm, x[row]))


def test_several_inputs_stand_side_by_side() -> None:
    forward, x = layer(2 * H), inputs(2 * H)
    both = forward([x[..., :H], x[..., H:]], (), EVALUATION).value
    one = forward([x], (), EVALUATION).value
    assert torch.equal(both, one)


@pytest.mark.parametrize("residuals", [1, 2])
def test_residuals_add_the_first_inputs_alone(residuals: int) -> None:
    halves = inputs(2 * H).split(H, -1)
    plain, plain_state, _ = layer(2 * H)(halves, (), EVALUATION)
    with_residuals = layer(2 * H, residuals)
    output, state, _ = with_residuals(halves, (), EVALUATION)
    torch.testing.assert_close(output, plain + sum(halves[:residuals]))
    assert all(torch.equal(a, b) for a, b in zip(state, plain_state, strict=True))


@pytest.mark.parametrize("residuals", [0, 1])
@pytest.mark.parametrize("bounds", [(0, 3, 7), (0, 1, 2, 3, 4, 5, 6, 7)])
def test_chunks_of_time_with_the_state_handed_on_equal_the_whole(
    bounds: tuple[int, ...], residuals: int
) -> None:
    forward, x = layer(residuals=residuals), inputs()
    whole, (h, c), _ = forward([x], (), EVALUATION)
    state: tuple[Tensor, ...] = ()
    chunks = []
    for first, end in itertools.pairwise(bounds):
        chunk, state, _ = forward([x[:, first:end]], state, EVALUATION)
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, 1), whole)
    torch.testing.assert_close(state[0], h)
    torch.testing.assert_close(state[1], c)


def test_gradients_flow_through_the_state() -> None:
    forward, x = layer(), inputs().requires_grad_()
    forward([x], (), EVALUATION).value[:, -1].sum().backward()
    whole, x.grad = x.grad, None
    state = forward([x[:, :3]], (), EVALUATION).state
    forward([x[:, 3:]], state, EVALUATION).value[:, -1].sum().backward()
    assert whole is not None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, whole)
    assert whole[:, 0].abs().sum() > 0


def test_reversed_equals_a_packed_bidirectional_layer() -> None:
    backward, x = layer(reverse=True), inputs()
    reference = nn.LSTM(H, H, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for name, value in backward.lstm.named_parameters():
            getattr(reference, f"{name}_reverse").copy_(value)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    output, state, _ = backward([x, LENGTHS], (), EVALUATION)
    assert state == ()
    mask = length_mask(LENGTHS, S)
    torch.testing.assert_close(output[mask], expected[..., H:][mask])


def test_reversed_equals_the_equations_on_each_reversed_sentence() -> None:
    backward, x = layer(reverse=True), inputs()
    output = backward([x, LENGTHS], (), EVALUATION).value
    for row, length in enumerate(LENGTHS.tolist()):
        expected = slow_lstm(backward.lstm, x[row, :length].flip(0)).flip(0)
        torch.testing.assert_close(output[row, :length], expected)


def test_reversal_index_is_its_own_inverse() -> None:
    index = reversal_index(LENGTHS, S)
    assert index.tolist()[1] == [1, 0, 2, 3, 4, 5, 6]
    assert index.tolist()[2] == [6, 5, 4, 3, 2, 1, 0]
    assert torch.equal(index.gather(1, index), torch.arange(S).expand(B, S))


def test_a_reversed_layer_adds_its_inputs_where_they_stand() -> None:
    halves = list(inputs(2 * H).split(H, -1))
    plain = layer(2 * H, reverse=True)([*halves, LENGTHS], (), EVALUATION).value
    summed = layer(2 * H, 2, reverse=True)([*halves, LENGTHS], (), EVALUATION).value
    torch.testing.assert_close(summed, plain + halves[0] + halves[1])
