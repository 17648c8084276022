"""GRU layers against the equations and against PyTorch's."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nmt.model.batch import length_mask
from nmt.model.clip import Clip
from nmt.model.context import EVALUATION, ForwardContext
from nmt.model.dropout import Randomness
from nmt.model.gru import GruLayer

LENGTHS = torch.tensor([5, 2, 7, 1])
B, S, H = 4, 7, 6


def layer(
    width: int = H, residuals: int = 0, reverse: bool = False, clip: Clip | None = None
) -> GruLayer:
    torch.manual_seed(0)
    return GruLayer("layer", width, H, 0.2, residuals, 1, clip, reverse).double()


def inputs(width: int = H) -> Tensor:
    return torch.randn(B, S, width, dtype=torch.float64, generator=torch.manual_seed(1))


def slow_gru(gru: nn.GRU, x: Tensor) -> Tensor:
    """PyTorch's documentation, as written there: (time, ·) → (time, H)."""
    W, U, b_W, b_U = gru.parameters()
    (W_r, W_z, W_n), (U_r, U_z, U_n) = W.chunk(3), U.chunk(3)
    (b_r, b_z, b_n), (c_r, c_z, c_n) = b_W.chunk(3), b_U.chunk(3)
    h, outputs = torch.zeros(H, dtype=x.dtype), []
    for x_t in x:
        r = (W_r @ x_t + b_r + U_r @ h + c_r).sigmoid()
        z = (W_z @ x_t + b_z + U_z @ h + c_z).sigmoid()
        n = (W_n @ x_t + b_n + r * (U_n @ h + c_n)).tanh()
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs)


def test_equals_the_equations() -> None:
    forward, x = layer(), inputs()
    output, (h,), losses = forward([x], (), EVALUATION)
    assert output.shape == (B, S, H)
    assert torch.equal(h, output[:, -1])
    assert not losses
    for row in range(B):
        torch.testing.assert_close(output[row], slow_gru(forward.gru, x[row]))


@pytest.mark.parametrize("residuals", [0, 1, 2])
def test_equals_pytorch_s_with_its_inputs_added(residuals: int) -> None:
    halves = inputs(2 * H).split(H, -1)
    forward = layer(2 * H, residuals)
    reference = nn.GRU(2 * H, H, batch_first=True).double()
    reference.load_state_dict(forward.gru.state_dict())
    expected, last = reference(torch.cat(halves, -1))
    output, (h,), _ = forward(halves, (), EVALUATION)
    torch.testing.assert_close(output, expected + sum(halves[:residuals]))
    torch.testing.assert_close(h, last[0])


@pytest.mark.parametrize("bounds", [(0, 3, 7), (0, 1, 2, 3, 4, 5, 6, 7)])
def test_chunks_of_time_with_the_state_handed_on_equal_the_whole(bounds: tuple[int, ...]) -> None:
    forward, x = layer(residuals=1), inputs().requires_grad_()
    whole, (h,), _ = forward([x], (), EVALUATION)
    state: tuple[Tensor, ...] = ()
    chunks = []
    for first, end in itertools.pairwise(bounds):
        chunk, state, _ = forward([x[:, first:end]], state, EVALUATION)
        chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, 1), whole)
    torch.testing.assert_close(state[0], h)
    (expected,) = torch.autograd.grad(whole[:, -1].sum(), x)
    (found,) = torch.autograd.grad(chunks[-1][:, -1].sum(), x)
    torch.testing.assert_close(found, expected)


def test_reversed_equals_a_packed_bidirectional_layer() -> None:
    backward, x = layer(reverse=True), inputs()
    reference = nn.GRU(H, H, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for name, value in backward.gru.named_parameters():
            getattr(reference, f"{name}_reverse").copy_(value)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    output, state, _ = backward([x, LENGTHS], (), EVALUATION)
    assert state == ()
    mask = length_mask(LENGTHS, S)
    torch.testing.assert_close(output[mask], expected[..., H:][mask])


def test_training_drops_inputs_and_keeps_outputs_within_the_range() -> None:
    forward, x = layer(residuals=1, clip=Clip.fixed(0.3)), inputs()
    context = ForwardContext(0, (B, S, S), Randomness(1))
    output = forward([x], (), context).value
    assert float(output.detach().abs().max()) == 0.3
    assert not torch.allclose(output, forward([x], (), EVALUATION).value)


def test_initial_values() -> None:
    values = layer().initial_values()
    assert values.keys() == dict(layer().named_parameters()).keys()
