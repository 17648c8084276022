from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from nmt.config import GnmtConfig, read
from nmt.model.batch import EOS, Batch, length_mask
from nmt.model.build import build_graph
from nmt.model.context import EVALUATION
from nmt.model.embedding import Embedding
from nmt.model.folder import expected_shapes
from nmt.model.graph import Axis, LayerGraph, LayerStack, Node, PerPosition
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output

V = 20
MakeModel = Callable[..., GnmtConfig]
MakeBatch = Callable[..., Batch]
CONF = Path(__file__).parents[2] / "conf" / "model"


def whole(config: GnmtConfig, seed: int = 1, dtype: torch.dtype = torch.float64) -> LayerStack:
    graph = build_graph(config, V)
    return graph.build(graph.names, seed, dtype)


def labels(batch: Batch) -> Tensor:
    return batch.target_output[length_mask(batch.target_lengths, batch.target_output.shape[1])]


def loss(stack: LayerStack, batch: Batch) -> Tensor:
    return F.cross_entropy(stack(batch, EVALUATION), labels(batch), reduction="sum")


# The graph's form


def test_names_in_the_order_of_computation(model_config: MakeModel) -> None:
    graph = build_graph(model_config(encoder_layers=4, decoder_layers=3), V)
    assert graph.name == "gnmt-test-20"
    assert graph.names == (
        "source_embedding",
        "encoder.0.left_to_right",
        "encoder.0.right_to_left",
        "encoder.1",
        "encoder.2",
        "encoder.3",
        "attention_keys",
        "target_embedding",
        "decoder.0",
        "attention",
        "decoder.1",
        "decoder.2",
        "output",
    )
    assert [node.name for node in graph.nodes if not node.chunkable] == ["encoder.0.right_to_left"]
    assert graph.node("output").output_shape(2, 3) == (2, 3, V)
    assert {node.output_shape(2, 3) for node in graph.nodes[:-1]} == {(2, 3, 6)}


def test_what_lives_at_each_boundary(model_config: MakeModel) -> None:
    graph = build_graph(model_config(), V)
    live = {name: graph.live_after(i + 1) for i, name in enumerate(graph.names)}
    both = ("encoder.0.left_to_right", "encoder.0.right_to_left")
    memory = ("encoder.2", "attention_keys")
    assert graph.live_after(0) == ()
    assert live == {
        "source_embedding": ("source_embedding",),
        "encoder.0.left_to_right": ("source_embedding", "encoder.0.left_to_right"),
        "encoder.0.right_to_left": both,
        "encoder.1": ("encoder.1",),
        "encoder.2": ("encoder.2",),
        "attention_keys": memory,
        "target_embedding": (*memory, "target_embedding"),
        "decoder.0": (*memory, "decoder.0"),
        "attention": ("decoder.0", "attention"),
        "decoder.1": ("attention", "decoder.1"),
        "decoder.2": ("attention", "decoder.2"),  # not with residual: gnmt
        "output": (),
    }


def test_a_graph_out_of_order_is_our_mistake(model_config: MakeModel) -> None:
    nodes = build_graph(model_config(), V).nodes
    with pytest.raises(AssertionError, match=r"encoder.1 reads encoder.0.left_to_right"):
        LayerGraph("wrong", nodes[3:])
    with pytest.raises(AssertionError, match="source_embedding occurs twice"):
        LayerGraph("wrong", (nodes[0], nodes[0]))
    with pytest.raises(AssertionError, match="a reads later"):
        LayerGraph(
            "wrong", (Node("a", nodes[0].build, ("later",), Axis.SOURCE, PerPosition((1,)), {}),)
        )


def test_residual_connections_as_in_gnmt(model_config: MakeModel) -> None:
    stack = whole(model_config(encoder_layers=4, decoder_layers=4, residual="gnmt"))
    residuals = {
        node.name: node.inputs[: layer.residuals]
        for node in stack.nodes
        if isinstance(layer := stack.layer(node.name), LstmLayer) and layer.residuals
    }
    assert residuals == {
        "encoder.2": ("encoder.1",),
        "encoder.3": ("encoder.2",),
        "decoder.1": ("decoder.0",),
        "decoder.2": ("decoder.1",),
        "decoder.3": ("decoder.2",),
    }


def test_several_bidirectional_layers_and_a_context_for_one(model_config: MakeModel) -> None:
    config = model_config(
        encoder_layers=4, decoder_layers=4, bidirectional_layers=3, context="first"
    )
    stack = whole(config)
    inputs = {node.name: node.inputs for node in stack.nodes}
    forward, backward = "encoder.{}.left_to_right", "encoder.{}.right_to_left"
    for i in (1, 2):
        one, other = forward.format(i - 1), backward.format(i - 1)
        assert inputs[forward.format(i)] == (one, other)
        assert inputs[backward.format(i)] == (other, one, "batch.source_lengths")
        for name in (forward.format(i), backward.format(i)):
            layer = stack.layer(name)
            assert isinstance(layer, LstmLayer)
            assert layer.residuals == 1
    assert inputs["encoder.3"] == (forward.format(2), backward.format(2))
    assert inputs["decoder.1"] == ("decoder.0", "attention")
    assert inputs["decoder.2"] == ("decoder.1",)
    assert inputs["decoder.3"] == ("decoder.2",)
    with pytest.raises(ValueError, match="must be less than `encoder_layers`"):
        model_config(encoder_layers=2, bidirectional_layers=2)


# Numbers


def slow_lstm(stack: LayerStack, name: str, x: Tensor) -> Tensor:
    """One sentence, step by step: (time, ·) → (time, H)."""
    layer = stack.layer(name)
    assert isinstance(layer, LstmLayer)
    W, U, b_W, b_U = layer.lstm.parameters()
    h = c = torch.zeros(layer.lstm.hidden_size, dtype=x.dtype)
    outputs = []
    for x_t in x:
        i, f, g, o = (W @ x_t + b_W + U @ h + b_U).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


def slow_gnmt(stack: LayerStack, config: GnmtConfig, source: Tensor, target: Tensor) -> Tensor:
    """Wu et al. 2016, section 3, for one sentence: (S,), (T,) → (T, V)."""
    p, scale = stack.canonical_parameters(), config.hidden_size**0.5
    embedded = p["source_embedding.weight"][source] * scale
    right = slow_lstm(stack, "encoder.0.left_to_right", embedded)
    left = slow_lstm(stack, "encoder.0.right_to_left", embedded.flip(0)).flip(0)
    x = slow_lstm(stack, "encoder.1", torch.cat([right, left], 1))
    full = config.residual == "full"
    x = x + right + left if full else x
    for i in range(2, config.encoder_layers):
        x = x + slow_lstm(stack, f"encoder.{i}", x)
    y = slow_lstm(stack, "decoder.0", p["target_embedding.weight"][target] * scale)
    queries = y @ p["attention.query_weight"].T + p["attention.bias"]
    energies = torch.tanh(queries[:, None] + x @ p["attention_keys.weight"].T)
    context = (energies @ p["attention.score_weight"][0]).softmax(1) @ x
    for i in range(1, config.decoder_layers):
        y = y + slow_lstm(stack, f"decoder.{i}", torch.cat([y, context], 1))
    y = y + context if full else y
    return y @ p["output.weight"].T + p["output.bias"]


@pytest.mark.parametrize("residual", ["gnmt", "full"])
@pytest.mark.parametrize("layers", [(2, 2), (3, 3), (5, 2)])
def test_a_batch_equals_the_equations_sentence_by_sentence(
    model_config: MakeModel, random_batch: MakeBatch, layers: tuple[int, int], residual: str
) -> None:
    config = model_config(encoder_layers=layers[0], decoder_layers=layers[1], residual=residual)
    stack, batch = whole(config), random_batch()
    logits = stack(batch, EVALUATION)
    assert logits.shape == (batch.tokens, V)
    for row, part in enumerate(logits.split(batch.target_lengths.tolist())):
        S, T = int(batch.source_lengths[row]), int(batch.target_lengths[row])
        expected = slow_gnmt(stack, config, batch.source[row, :S], batch.target_input[row, :T])
        torch.testing.assert_close(part, expected)


def test_padding_changes_neither_logits_nor_gradients(
    model_config: MakeModel, random_batch: MakeBatch
) -> None:
    config = model_config()
    together, alone, batch = whole(config), whole(config), random_batch()
    loss(together, batch).backward()
    for piece in batch.split(batch.rows):
        loss(alone, piece).backward()
    others = alone.canonical_parameters()
    for name, parameter in together.canonical_parameters().items():
        torch.testing.assert_close(parameter.grad, others[name].grad, msg=name)
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, f"{name} gets no gradient"


def test_what_a_source_ends_with_reaches_its_start(
    model_config: MakeModel, random_batch: MakeBatch
) -> None:
    stack, batch = whole(model_config()), random_batch((6,), (2,))
    changed = batch.source.clone()
    changed[0, -2] = EOS
    other = Batch(**{**vars(batch), "source": changed})
    first = [stack(b, EVALUATION)[0] for b in (batch, other)]
    assert not torch.allclose(first[0], first[1])


def test_the_decoder_does_not_see_the_future(
    model_config: MakeModel, random_batch: MakeBatch
) -> None:
    stack, batch = whole(model_config()), random_batch((6,), (5,))
    changed = batch.target_input.clone()
    changed[0, 3] = changed[0, 3] % 4 + 4
    changed[0, 4] = 19
    other = Batch(**{**vars(batch), "target_input": changed})
    a, b = stack(batch, EVALUATION), stack(other, EVALUATION)
    assert torch.equal(a[:3], b[:3])
    assert not torch.allclose(a[3:], b[3:])


def test_gradients_equal_finite_differences(
    model_config: MakeModel, random_batch: MakeBatch
) -> None:
    config = model_config(hidden_size=3, tie="all")
    stack, batch = whole(config), random_batch((2, 3), (3, 1))
    loss(stack, batch).backward()
    chance, epsilon = torch.manual_seed(0), 1e-6
    for name, parameter in stack.canonical_parameters().items():
        assert parameter.grad is not None, name
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=chance)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * epsilon * direction)
                values.append(float(loss(stack, batch)))
                parameter.sub_(sign * epsilon * direction)
        numeric = (values[0] - values[1]) / (2 * epsilon)
        exact = float((parameter.grad * direction).sum())
        assert exact == pytest.approx(numeric, rel=1e-5, abs=1e-8), name


# Parameters


def test_a_part_has_the_initial_values_of_the_whole(model_config: MakeModel) -> None:
    graph = build_graph(model_config(), V)
    everything = graph.build(graph.names, seed=3).canonical_parameters()
    parts: dict[str, Tensor] = {}
    for names in (graph.names[7:], graph.names[:4], graph.names[4:7]):
        parts |= graph.build(names, seed=3).canonical_parameters()
    assert parts.keys() == everything.keys()
    assert all(torch.equal(value, everything[name]) for name, value in parts.items())
    other = graph.build(graph.names, seed=4).canonical_parameters()
    weights = [name for name in everything if "weight" in name]
    assert not any(torch.equal(other[name], everything[name]) for name in weights)


def test_initial_values_do_not_depend_on_the_dtype_or_the_global_seed(
    model_config: MakeModel,
) -> None:
    graph = build_graph(model_config(), V)
    torch.manual_seed(1)
    single = graph.build(graph.names, seed=3).canonical_parameters()
    torch.manual_seed(2)
    double = graph.build(graph.names, seed=3, dtype=torch.float64).canonical_parameters()
    assert all(torch.equal(value.double(), double[name]) for name, value in single.items())


def test_initial_values(model_config: MakeModel) -> None:
    H = 64
    stack = whole(model_config(hidden_size=H), dtype=torch.float32)
    for name, parameter in stack.canonical_parameters().items():
        if "weight" in name:
            bound = (3 / parameter.shape[-1]) ** 0.5
            assert parameter.abs().max() <= bound, name
            assert float(parameter.detach().std()) == pytest.approx(
                parameter.shape[-1] ** -0.5, rel=0.15
            )
        elif "bias_ih" in name:
            assert (parameter[H : 2 * H] == 1).all(), name
            assert int((parameter != 0).sum()) == H, name
        else:
            assert (parameter == 0).all(), name


@pytest.mark.parametrize("tie", ["none", "target", "all"])
def test_ties(model_config: MakeModel, tie: str) -> None:
    stack = whole(model_config(tie=tie))
    source, target, output = (
        stack.layer(name) for name in ("source_embedding", "target_embedding", "output")
    )
    assert isinstance(source, Embedding)
    assert isinstance(target, Embedding)
    assert isinstance(output, Output)
    assert (target.weight is output.weight) == (tie != "none")
    assert (source.weight is target.weight) == (tie == "all")
    matrices = [name for name, p in stack.canonical_parameters().items() if p.shape == (V, 6)]
    assert (
        matrices
        == {
            "none": ["source_embedding.weight", "target_embedding.weight", "output.weight"],
            "target": ["source_embedding.weight", "target_embedding.weight"],
            "all": ["source_embedding.weight"],
        }[tie]
    )
    assert len(list(stack.parameters())) == len(stack.canonical_parameters())


@pytest.mark.parametrize("tie", ["target", "all"])
def test_a_tied_gradient_is_the_sum(
    model_config: MakeModel, random_batch: MakeBatch, tie: str
) -> None:
    tied, free = whole(model_config(tie=tie)), whole(model_config(tie="none"))
    shared = "source_embedding.weight" if tie == "all" else "target_embedding.weight"
    own = tied.canonical_parameters()
    others = {"target_embedding.weight": own[shared], "output.weight": own[shared]}
    free.load({**others, **own})
    batch = random_batch()
    loss(tied, batch).backward()
    loss(free, batch).backward()
    names = ["target_embedding.weight", "output.weight"]
    names += ["source_embedding.weight"] if tie == "all" else []
    parts = [free.canonical_parameters()[name].grad for name in names]
    expected = sum(part for part in parts if part is not None)
    torch.testing.assert_close(own[shared].grad, expected)


def test_a_tied_layer_without_its_owner_has_the_owner_s_values(model_config: MakeModel) -> None:
    graph = build_graph(model_config(tie="all"), V)
    first, last = graph.build(graph.names[:4], seed=3), graph.build(graph.names[4:], seed=3)
    name = "source_embedding.weight"
    assert torch.equal(first.canonical_parameters()[name], last.canonical_parameters()[name])
    target, output = last.layer("target_embedding"), last.layer("output")
    assert isinstance(target, Embedding)
    assert isinstance(output, Output)
    assert target.weight is output.weight is last.canonical_parameters()[name]


def test_load_needs_every_shape(model_config: MakeModel) -> None:
    stack = whole(model_config())
    values = {name: p.detach() + 1 for name, p in stack.canonical_parameters().items()}
    stack.load(values)
    assert all(torch.equal(p, values[name]) for name, p in stack.canonical_parameters().items())
    with pytest.raises(AssertionError, match=r"output\.bias"):
        stack.load({**values, "output.bias": torch.zeros(3)})


def test_a_stack_can_be_moved_and_loaded_as_a_module(model_config: MakeModel) -> None:
    stack = whole(model_config())
    assert {p.dtype for p in stack.float().parameters()} == {torch.float32}
    assert stack.canonical_parameters()["output.weight"].dtype == torch.float32


def parameter_count(config: GnmtConfig, V: int) -> int:
    """Counted by hand: an LSTM has 4 gates with an input, a recurrent and two bias parts."""
    H = config.hidden_size

    def lstm(width: int) -> int:
        return 4 * H * (width + H + 2)

    encoder = 2 * lstm(H) + lstm(2 * H) + (config.encoder_layers - 2) * lstm(H)
    decoder = lstm(H) + (config.decoder_layers - 1) * lstm(2 * H)
    attention = 2 * H * H + 2 * H
    matrices = {"none": 3, "target": 2, "all": 1}[config.tie]
    return encoder + decoder + attention + matrices * V * H + V


@pytest.mark.parametrize("tie", ["none", "target", "all"])
@pytest.mark.parametrize("size", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_parameter_counts_of_the_configured_models(size: str, tie: str) -> None:
    values = yaml.safe_load((CONF / f"{size}.yaml").read_text(encoding="utf-8"))
    config = read(GnmtConfig, {**values, "tie": tie})
    shapes = expected_shapes(build_graph(config, 8000))
    assert sum(shape.numel() for shape in shapes.values()) == parameter_count(config, 8000)


def test_expected_shapes_are_those_of_the_built_model(model_config: MakeModel) -> None:
    for tie in ("none", "target", "all"):
        graph = build_graph(model_config(tie=tie), V)
        built = graph.build(graph.names, 0).canonical_parameters()
        assert expected_shapes(graph) == {name: p.shape for name, p in built.items()}
