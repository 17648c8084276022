"""The model as decoding runs it: whole sources through the encoder, targets one piece at a time.

Every layer of the graph has a counterpart in `nmt.runtime.steps`; a test holds each against the
graph's own pass. Each layer's weights are on its device; inputs come to where the weights are.

B sentences, K hypotheses of each, R = B * K rows, S longest source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import EOS, pad
from nmt.model.embedding import Embedding
from nmt.model.graph import BATCH, LayerGraph, Node, canonical_name
from nmt.model.layer import Layer
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output
from nmt.model.shortlist import Shortlist
from nmt.precision.formats import FloatFormat, Format
from nmt.runtime.packing import Packing
from nmt.runtime.padded import PaddedSource
from nmt.runtime.state import DecoderState, Sources
from nmt.runtime.steps import (
    AttentionStep,
    EmbeddingStep,
    KeysStep,
    LstmScan,
    LstmStep,
    OutputStep,
)

TARGET_FIELDS = ("batch.target_input", "batch.target_index")
SOURCE_FIELDS = ("batch.source", "batch.source_lengths")
FP32 = FloatFormat(torch.float32)

Step = EmbeddingStep | LstmScan | KeysStep | LstmStep | AttentionStep | OutputStep


@dataclass(frozen=True)
class StepResult:
    """One step of all rows."""

    logits: Tensor  # (R, V) in fp32, or (R, U) of the words of the state
    attention: Tensor  # (B, K, S) in fp32
    state: DecoderState


class Stepper:
    """A model's layers on their devices, ready for decoding. Holds no request's state."""

    def __init__(
        self,
        graph: LayerGraph,
        weights: Mapping[str, Tensor],
        device_of: Callable[[str], str],
        form: Format = FP32,
        shortlist: Shortlist | None = None,
        padded: bool | None = None,
    ) -> None:
        """`weights` by canonical name; `device_of` a layer's name. `padded` says whether sources
        are encoded as `PaddedSource` does; None: where all is on one GPU."""
        target = _target_side(graph)
        self._source_nodes = [node for node in graph.nodes if node.name not in target]
        self._target_nodes = [node for node in graph.nodes if node.name in target]
        layers = _layers(graph, weights, {name: device_of(name) for name in graph.names})
        devices = {layer_device(layer) for layer in layers.values()}
        gpu = len(devices) == 1 and not any(device.type == "cpu" for device in devices)
        self.gpu = devices.pop() if gpu else None  # the only device
        self.padded: PaddedSource | None = None
        if isinstance(form, FloatFormat) and (gpu if padded is None else padded):
            self.padded = PaddedSource(self._source_nodes, layers, form.dtype)
        # On a GPU, choosing the output layer's rows for each batch would take longer than it saves.
        on_cpu = layer_device(layers[graph.nodes[-1].name]).type == "cpu"
        self._shortlist = shortlist if on_cpu else None
        self._steps: dict[str, Step] = {}
        for node in graph.nodes if self.padded is None else self._target_nodes:
            self._steps[node.name] = self._step_of(
                node, layers[node.name], node.name in target, form
            )
        attention = [node for node in graph.nodes if isinstance(layers[node.name], Attention)]
        assert len(attention) == 1, "one attention layer"
        self._attention = attention[0]
        output = self._steps[graph.nodes[-1].name]
        assert isinstance(output, OutputStep), "the graph ends with it"
        self._output = output
        self.idle_graphs: list[Any] = []  # of batches that are empty now; see `replay`

    def _step_of(self, node: Node, layer: Layer, target: bool, form: Format) -> Step:
        inputs = [name for name in node.inputs if not name.startswith(BATCH)]
        # Formats that `PaddedSource` can have do not look at bounds.
        bounds = [self._steps[name].bound if name in self._steps else inf for name in inputs]
        match layer:
            case Embedding():
                return EmbeddingStep(layer, form)
            case LstmLayer() if target:
                return LstmStep(layer, form, bounds)
            case LstmLayer():
                return LstmScan(layer, form, bounds)
            case AttentionKeys():
                return KeysStep(layer, form, *bounds)
            case Attention():
                queries, _, memory = bounds
                return AttentionStep(layer, form, queries, memory)
            case Output():
                return OutputStep(layer, form, bounds, narrow=self._shortlist is not None)
        raise AssertionError(f"no step for {type(layer).__name__}")

    @torch.inference_mode()
    def start(
        self,
        sources: Sequence[Sequence[int]],
        beams: int,
        coverage: bool = False,
        narrow: bool = True,
        encode: Callable[[Tensor, Tensor], Sources] | None = None,
    ) -> DecoderState:
        """Encode sources (pieces without special ones) → the state before the first step, with
        `beams` equal rows for each sentence; `narrow` lets only pieces of the model's shortlist be
        written, if it has one. `encode` does what `self.encode` does."""
        ids, lengths = pad([[*source, EOS] for source in sources])
        side = (encode or self.encode)(ids, lengths)
        rows = len(sources) * beams
        recurrent = {
            name: step.start(rows)
            for name, step in self._steps.items()
            if isinstance(step, LstmStep)
        }
        attended = side.bias.new_zeros(rows, side.bias.shape[1]) if coverage else None
        allowed = self._shortlist.allowed(sources) if self._shortlist and narrow else None
        return DecoderState(beams, recurrent, side, attended, allowed)

    @torch.inference_mode()
    def encode(self, ids: Tensor, lengths: Tensor) -> Sources:
        """Pieces (B, S) with ends and padding, lengths (B,) → the source side. With `padded`,
        nothing here waits for a GPU."""
        if self.padded is None:
            return self._encode_packed(ids, lengths)
        attention = self._attention_step
        lengths_there = lengths.to(attention.device, non_blocking=True)
        outputs = self.padded(ids.to(attention.device, non_blocking=True), lengths_there)
        _, keys, memory, _ = self._attention.inputs
        side = attention.source_side(outputs[keys], outputs[memory], lengths_there, ids.shape[1])
        return Sources(*side, lengths)

    def _encode_packed(self, ids: Tensor, lengths: Tensor) -> Sources:
        """The same without padding."""
        packing = Packing.of(lengths)
        outputs = {SOURCE_FIELDS[0]: packing.pack(ids)}
        for node in self._source_nodes:
            inputs = [outputs[name] for name in node.inputs if name != SOURCE_FIELDS[1]]
            match self._steps[node.name]:
                case LstmScan() as scan:
                    outputs[node.name] = scan(inputs, packing)
                case EmbeddingStep() | KeysStep() as step:
                    outputs[node.name] = step(inputs[0])
        _, keys, memory, _ = self._attention.inputs
        return self._attention_step.sources(outputs[keys], outputs[memory], packing)

    @property
    def _attention_step(self) -> AttentionStep:
        step = self._steps[self._attention.name]
        assert isinstance(step, AttentionStep)
        return step

    @torch.inference_mode()
    def step(self, state: DecoderState, pieces: Tensor) -> StepResult:
        """Read each row's last piece (R,) → scores of its next one, of the pieces that
        `state.words` says or of all."""
        if state.allowed is not None and state.words is None:
            state = replace(state, words=self._output.words(state.allowed))
        outputs = {TARGET_FIELDS[0]: pieces}
        recurrent = dict(state.recurrent)
        attention = None
        for node in self._target_nodes:
            step, inputs = self._steps[node.name], [outputs.get(name) for name in node.inputs]
            given = [x for x in inputs if x is not None]  # the source side is in the state
            match step:
                case LstmStep():
                    output, recurrent[node.name] = step(given, recurrent[node.name])
                case AttentionStep():
                    output, attention = step(given[0], state.sources)
                case OutputStep():
                    output = (state.words.output if state.words else step)(given)
                case EmbeddingStep():
                    output = step(given[0])
            outputs[node.name] = output
        assert attention is not None, "one attention layer"
        attended = state.attended
        if attended is not None:
            attended = attended + attention.flatten(0, 1)
        logits = outputs[self._target_nodes[-1].name]
        if state.words is not None:
            # In a tenth of the time that filling by a mask takes.
            logits.view(len(state), state.beams, -1).add_(state.words.bias[:, None])
        state = replace(state, recurrent=recurrent, attended=attended)
        return StepResult(logits, attention, state)


def layer_device(layer: Layer) -> torch.device:
    """Where its parameters are."""
    return next(layer.parameters()).device


def _target_side(graph: LayerGraph) -> set[str]:
    """The layers that depend on the target."""
    names: set[str] = set()
    for node in graph.nodes:
        if any(name in names or name in TARGET_FIELDS for name in node.inputs):
            names.add(node.name)
    assert not any(
        name.startswith(BATCH) and name not in SOURCE_FIELDS
        for node in graph.nodes
        if node.name not in names
        for name in node.inputs
    ), "the source side reads the source"
    return names


def _layers(
    graph: LayerGraph, weights: Mapping[str, Tensor], devices: Mapping[str, str]
) -> dict[str, Layer]:
    """All layers on their devices, without initial values of their own; those that share a device
    share tied parameters."""
    moved: dict[tuple[str, str], Tensor] = {}

    def value(name: str, device: str) -> Tensor:
        if (name, device) not in moved:
            moved[name, device] = weights[name].to(device, torch.float32)
        return moved[name, device]

    layers: dict[str, Layer] = {}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        own = {
            name: value(canonical_name(node, name), devices[node.name])
            for name, _ in layer.named_parameters()
        }
        layer.load_state_dict(own, assign=True)
        layers[node.name] = layer.requires_grad_(False)
    return layers
