import itertools
import math

import pytest
import torch
from torch import Tensor

from nmt.model.attention import Attention, AttentionKeys, Kind
from nmt.model.batch import length_mask
from nmt.model.context import EVALUATION

B, S, T, H, A = 3, 5, 4, 6, 8
LENGTHS = torch.tensor([5, 1, 3])


def layers(heads: int = 1, kind: Kind = "additive") -> tuple[AttentionKeys, Attention]:
    torch.manual_seed(0)
    keys = AttentionKeys("keys", H, A, kind).double()
    both = keys, Attention("attention", H, A, heads, kind).double()
    with torch.no_grad():
        for one in both:
            for parameter in one.parameters():
                parameter.normal_()
    return both


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(B, T, H, dtype=torch.float64), torch.randn(B, S, H, dtype=torch.float64)


def slow_attention(
    keys: AttentionKeys, attention: Attention, queries: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Bahdanau et al. 2015, appendix A.1.2, or scaled products, one position after the other; the
    weights are the heads' mean."""
    heads = attention.heads
    weights, contexts = torch.zeros(B, T, S).double(), torch.zeros(B, T, H).double()
    for b, t, head in itertools.product(range(B), range(T), range(heads)):
        units = slice(head * A // heads, (head + 1) * A // heads)
        part = slice(head * H // heads, (head + 1) * H // heads)
        query = (attention.query_weight @ queries[b, t] + attention.bias)[units].detach()
        energies = []
        for s in range(int(LENGTHS[b])):
            key = (keys.weight @ memory[b, s])[units].detach()
            if attention.kind == "dot":
                score = query @ key / math.sqrt(A / heads)
            else:
                score = attention.score_weight[0, units].detach() @ (query + key).tanh()
            energies.append(math.exp(float(score)))
        for s, energy in enumerate(energies):
            weight = energy / sum(energies)
            weights[b, t, s] += weight / heads
            contexts[b, t, part] += weight * memory[b, s, part]
    return weights, contexts


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_equals_a_loop_over_positions(kind: Kind, heads: int) -> None:
    keys, attention = layers(heads, kind)
    queries, memory = data()
    key_values, state, _ = keys([memory], (), EVALUATION)
    assert key_values.shape == (B, S, A)
    assert state == ()
    context, state, _ = attention([queries, key_values, memory, LENGTHS], (), EVALUATION)
    assert context.shape == (B, T, H)
    assert state == ()
    weights = attention.weights(queries, key_values, length_mask(LENGTHS, S))
    expected_weights, expected_context = slow_attention(keys, attention, queries, memory)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(context, expected_context)


def test_rows_sum_to_one_and_padding_gets_nothing() -> None:
    keys, attention = layers()
    queries, memory = data()
    mask = length_mask(LENGTHS, S)
    weights = attention.weights(queries, keys([memory], (), EVALUATION).value, mask)
    assert weights.shape == (B, T, S)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, T).double())
    assert (weights[~mask[:, None, :].expand_as(weights)] == 0).all()
    assert (weights[1, :, 0] == 1).all(), "a source of one token gets all of it"


def test_noise_in_the_padding_changes_nothing() -> None:
    keys, attention = layers()
    queries, memory = data()
    noisy = torch.where(length_mask(LENGTHS, S)[..., None], memory, 1e3)
    outputs = [
        attention([queries, keys([m], (), EVALUATION).value, m, LENGTHS], (), EVALUATION).value
        for m in (memory, noisy)
    ]
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("chunk", [1, 3])
def test_targets_are_attended_one_by_one(chunk: int) -> None:
    keys, attention = layers()
    queries, memory = data()
    key_values = keys([memory], (), EVALUATION).value
    whole = attention([queries, key_values, memory, LENGTHS], (), EVALUATION).value
    pieces = [
        attention([piece, key_values, memory, LENGTHS], (), EVALUATION).value
        for piece in queries.split(chunk, 1)
    ]
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def test_weights_are_in_fp32_at_least() -> None:
    keys, attention = layers()
    queries, memory = data()
    keys.bfloat16()
    attention.bfloat16()
    queries, memory = queries.bfloat16(), memory.bfloat16()
    key_values = keys([memory], (), EVALUATION).value
    weights = attention.weights(queries, key_values, length_mask(LENGTHS, S))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, T))
    context = attention([queries, key_values, memory, LENGTHS], (), EVALUATION).value
    assert context.dtype == torch.bfloat16
