from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import BOS
from nmt.model.graph import LayerGraph
from nmt.precision.formats import FloatFormat, Int8Format
from nmt.precision.int8 import has_int8
from nmt.runtime.state import DecoderState
from nmt.runtime.stepper import Stepper
from tests.cells import BOUNDED, ODD, PLAIN
from tests.random_models import MakeModel, Model

SOURCES = [[4, 5, 6, 7, 8], [9], [5, 5, 7], []]
TARGETS = [[5, 6, 7], [8, 4, 4], [9, 10, 11], [4, 5, 4]]


def step_by_step(
    stepper: Stepper, state: DecoderState, targets: list[list[int]], beams: int = 1
) -> tuple[Tensor, Tensor]:
    """Log probabilities (B, T, V) and attention (B, T, S) with the same target in each beam."""
    rows = torch.tensor([[BOS, *target] for target in targets]).repeat_interleave(beams, 0)
    log_probabilities, attention = [], []
    for t in range(rows.shape[1]):
        result = stepper.step(state, rows[:, t])
        state = result.state
        log_probabilities.append(result.logits.log_softmax(-1).cpu())
        attention.append(result.attention.flatten(0, 1).cpu())
    return torch.stack(log_probabilities, 1), torch.stack(attention, 1)


def check(model: Model, stepper: Stepper, beams: int, tolerance: float) -> None:
    state = stepper.start(SOURCES, beams)
    got, attention = step_by_step(stepper, state, TARGETS, beams)
    for i, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        expected, weights = model.full_pass(source, target)
        for row in range(i * beams, (i + 1) * beams):
            torch.testing.assert_close(got[row], expected, rtol=0, atol=tolerance)
            S = len(source) + 1
            torch.testing.assert_close(attention[row, :, :S], weights, rtol=0, atol=tolerance)
            assert not attention[row, :, S:].any()


@pytest.mark.parametrize("cell", ["lstm", "gru", ODD])
@pytest.mark.parametrize("tie", ["none", "target", "all"])
@pytest.mark.parametrize(("encoder", "decoder", "beams"), [(2, 2, 1), (4, 3, 2), (2, 4, 3)])
def test_step_by_step_equals_the_full_pass(
    make_model: MakeModel, cell: str, tie: str, encoder: int, decoder: int, beams: int
) -> None:
    depth = {"encoder_layers": encoder, "decoder_layers": decoder}
    model = make_model(cell=cell, tie=tie, **depth, scale=1.5)
    check(model, model.stepper, beams, 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", ODD, PLAIN])
def test_padded_sources_give_the_same(make_model: MakeModel, cell: str) -> None:
    model = make_model(cell=cell, tie="all", encoder_layers=4, scale=1.5)
    check(model, Stepper(model.graph, model.weights, lambda _: "cpu", padded=True), 2, 1e-5)


@pytest.mark.parametrize("bidirectional", [1, 2, 3])
@pytest.mark.parametrize("context", ["all", "first"])
@pytest.mark.parametrize("residual", ["full", "gnmt"])
def test_other_connections(
    make_model: MakeModel, bidirectional: int, context: str, residual: str
) -> None:
    connections = {"bidirectional_layers": bidirectional, "context": context, "residual": residual}
    model = make_model(encoder_layers=4, decoder_layers=4, **connections, scale=1.5)
    check(model, model.stepper, 2, 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", ODD])
@pytest.mark.parametrize("residual", ["full", "gnmt"])
@pytest.mark.parametrize("padded", [False, True])
def test_normalised_layers(make_model: MakeModel, cell: str, residual: str, padded: bool) -> None:
    settings = {"cell": cell, "residual": residual, "normalisation": "layer"}
    model = make_model(**settings, encoder_layers=3, scale=1.5)
    check(model, Stepper(model.graph, model.weights, lambda _: "cpu", padded=padded), 2, 1e-4)


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("attention", ["additive", "dot"])
@pytest.mark.parametrize("padded", [False, True])
def test_kinds_and_heads_of_attention(
    make_model: MakeModel, attention: str, heads: int, padded: bool
) -> None:
    model = make_model(attention=attention, attention_heads=heads, hidden_size=16, scale=1.5)
    check(model, Stepper(model.graph, model.weights, lambda _: "cpu", padded=padded), 3, 1e-5)


def test_without_the_additional_residual_connections(make_model: MakeModel) -> None:
    model = make_model(residual="gnmt", encoder_layers=3, scale=1.5)
    check(model, model.stepper, 2, 1e-5)


def two_attentions(graph: LayerGraph, alignment: str) -> LayerGraph:
    """A second attention, which the top of the decoder queries, beside the first one."""
    nodes = {node.name: node for node in graph.nodes}
    *rest, top, output = graph.nodes
    keys = replace(
        nodes["attention_keys"], name="keys2", build=partial(AttentionKeys, "keys2", 8, 8)
    )
    reads = ("decoder.1", "keys2", *nodes["attention"].inputs[2:])
    second = replace(
        nodes["attention"],
        name="attention2",
        build=partial(Attention, "attention2", 8, 8),
        inputs=reads,
    )
    output = replace(output, inputs=("attention2", *output.inputs))
    return LayerGraph("two", (*rest, top, keys, second, output), alignment)


@pytest.mark.parametrize("alignment", ["attention", "attention2"])
@pytest.mark.parametrize("padded", [False, True])
def test_several_attentions_have_a_memory_each(
    make_model: MakeModel, alignment: str, padded: bool
) -> None:
    model = make_model(change=lambda graph: two_attentions(graph, alignment), scale=1.5)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", padded=padded)
    state = stepper.start(SOURCES, 2)
    assert list(state.sources.memories) == ["attention", "attention2"]
    check(model, stepper, 2, 1e-5)


def test_an_alignment_layer_is_named(make_model: MakeModel) -> None:
    graph = make_model().graph
    with pytest.raises(AssertionError, match="names its alignment layer"):
        make_model(change=lambda graph: replace(graph, alignment=None))
    with pytest.raises(AssertionError, match="no layer attention3"):
        replace(graph, alignment="attention3")


@pytest.mark.parametrize("tie", ["none", "all"])
def test_layers_on_several_devices_give_the_same(make_model: MakeModel, tie: str) -> None:
    model = make_model(tie=tie, encoder_layers=3, scale=1.5)
    devices = {name: ("cpu", "cpu:0")[i % 2] for i, name in enumerate(model.graph.names)}
    check(model, Stepper(model.graph, model.weights, devices.__getitem__), 2, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("encoder_device", ["cpu", "cuda:0"])
def test_cuda_gives_the_same(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, encoder_device: str
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = make_model(tie="all", scale=1.5)

    def device_of(layer: str) -> str:
        return encoder_device if layer.startswith("encoder") else "cuda:0"

    check(model, Stepper(model.graph, model.weights, device_of), 2, 1e-4)


def test_bf16_keeps_the_cell_and_the_logits_in_fp32(make_model: MakeModel) -> None:
    model = make_model(scale=1.0)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", FloatFormat(torch.bfloat16))
    result = stepper.step(stepper.start(SOURCES, 1), torch.full((4,), BOS))
    for h, c in result.state.recurrent.values():
        assert (h.dtype, c.dtype) == (torch.bfloat16, torch.float32)
    assert result.logits.dtype == result.attention.dtype == torch.float32
    check(model, stepper, 1, 0.1)


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("clip", [0.3, 1.0])
def test_layers_within_a_range(make_model: MakeModel, clip: float, cells: bool) -> None:
    model = make_model(encoder_layers=4, decoder_layers=4, scale=2.5, clip=clip, cells=cells)
    unbounded = make_model(encoder_layers=4, decoder_layers=4, scale=2.5)
    check(model, model.stepper, 2, 1e-5)
    with pytest.raises(AssertionError):  # or the test would show nothing
        check(unbounded, model.stepper, 2, 1e-2)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("residual", ["full", "gnmt"])
def test_int8_is_close_and_keeps_little(
    make_model: MakeModel, clip: float | None, residual: str, cell: str
) -> None:
    size = {"encoder_layers": 4, "decoder_layers": 4, "hidden_size": 32}
    model = make_model(**size, cell=cell, clip=clip, residual=residual, scale=1.0)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", Int8Format())
    result = stepper.step(stepper.start(SOURCES, 1), torch.full((4,), BOS))
    kinds = {tuple(x.dtype for x in state) for state in result.state.recurrent.values()}
    assert kinds == {(torch.uint8, torch.float32) if cell == "lstm" else (torch.float32,)}
    assert result.logits.dtype == result.attention.dtype == torch.float32
    check(model, stepper, 2, 0.1 if cell == "lstm" else 0.2)  # a GRU's logits spread twice as far
    with pytest.raises(AssertionError):
        check(model, stepper, 2, 1e-5)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
@pytest.mark.parametrize("cell", ["lstm", "gru", BOUNDED])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("normalisation", ["none", "layer"])
def test_nothing_is_beyond_the_bound_that_it_is_coded_with(
    make_model: MakeModel, clip: float | None, scale: float, cell: str, normalisation: str
) -> None:
    seen: list[float] = []

    class Watched(Int8Format):
        def encode(self, x: torch.Tensor, bound: float) -> torch.Tensor:
            seen.append(float(x.abs().max()) / bound)
            return super().encode(x, bound)

    size = {"encoder_layers": 4, "decoder_layers": 4, "hidden_size": 32}
    settings = {"cell": cell, "normalisation": normalisation}
    model = make_model(**size, **settings, clip=clip, scale=scale)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", Watched())
    step_by_step(stepper, stepper.start(SOURCES, 1), TARGETS)
    assert len(seen) > 50
    assert 0.9 < max(seen) < 1 + 1e-5


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_does_not_depend_on_what_else_is_in_the_batch(make_model: MakeModel) -> None:
    model = make_model(encoder_layers=3, decoder_layers=3, hidden_size=32)
    stepper = Stepper(model.graph, model.weights, lambda _: "cpu", Int8Format())
    together, _ = step_by_step(stepper, stepper.start(SOURCES, 1), TARGETS)
    for i, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone, _ = step_by_step(stepper, stepper.start([source], 1), [target])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_the_state_of_one_request_does_not_reach_another(make_model: MakeModel) -> None:
    model = make_model()
    first = model.stepper.start(SOURCES[:2], 2, coverage=True)
    before = {name: [x.clone() for x in state] for name, state in first.recurrent.items()}
    model.stepper.step(first, torch.full((4,), BOS))
    for name, state in first.recurrent.items():
        assert all(torch.equal(x, y) for x, y in zip(state, before[name], strict=True))
    assert first.attended is not None
    assert not first.attended.any()
