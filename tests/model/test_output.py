import torch
from torch.nn import functional as F

from nmt.model.batch import length_mask
from nmt.model.context import EVALUATION
from nmt.model.embedding import Embedding
from nmt.model.output import Output

B, T, H, V = 3, 4, 6, 11
LENGTHS = torch.tensor([2, 4, 1])
INDEX = torch.tensor([0, 1, 4, 5, 6, 7, 8])


def output_layer() -> Output:
    torch.manual_seed(0)
    layer = Output("output", H, V, 0.0)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    return layer


def test_logits_of_the_real_tokens_sentence_by_sentence() -> None:
    layer, x = output_layer(), torch.randn(B, T, H, generator=torch.manual_seed(1))
    logits, state, _ = layer([x, INDEX], (), EVALUATION)
    assert state == ()
    assert logits.shape == (7, V)
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    for logit, (b, t) in zip(logits, places, strict=True):
        torch.testing.assert_close(logit, layer.weight @ x[b, t] + layer.bias)


def test_logits_take_any_leading_shape() -> None:
    layer, x = output_layer(), torch.randn(2, 3, 5, H)
    assert layer.logits(x).shape == (2, 3, 5, V)
    torch.testing.assert_close(layer.logits(x)[1, 2, 4], layer.logits(x[1, 2, 4]))


def test_padding_gets_no_gradient() -> None:
    layer, x = output_layer(), torch.randn(B, T, H, requires_grad=True)
    layer([x, INDEX], (), EVALUATION).value.sum().backward()
    assert x.grad is not None
    assert (x.grad[~length_mask(LENGTHS, T)] == 0).all()


def test_embeddings_are_rows_scaled_by_the_root_of_the_width() -> None:
    layer = Embedding("embedding", V, H, 0.0, 1)
    torch.nn.init.normal_(layer.weight)
    ids = torch.tensor([[4, 5, 0], [10, 4, 3]])
    x, state, _ = layer([ids], (), EVALUATION)
    assert state == ()
    assert x.shape == (2, 3, H)
    torch.testing.assert_close(x, F.embedding(ids, layer.weight) * 6**0.5)
    torch.testing.assert_close(x[0, 1], layer.weight[5] * 6**0.5)
