"""The model as decoding runs it: whole sources through the encoder, targets one token at a time.

Every layer of the graph has a counterpart in this package (`nmt.runtime.kinds`); tests hold each
against the graph's own pass. A layer's weights are on its device; inputs are moved there.

B sentences, K hypotheses of each, R = B * K rows, S longest source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.model.batch import EOS, pad
from nmt.model.graph import BATCH, LayerGraph, Node, canonical_name
from nmt.model.layer import Layer
from nmt.model.shortlist import Shortlist
from nmt.precision.formats import FloatFormat, Format
from nmt.runtime.kinds import SOURCE_LAYERS, TARGET_LAYERS
from nmt.runtime.layer import SourceLayer, TargetLayer
from nmt.runtime.native import NativeModel, SourcePlace, TargetPlace, native_model
from nmt.runtime.output import OutputStep
from nmt.runtime.packing import Packing, Padding
from nmt.runtime.padded import PaddedSource
from nmt.runtime.state import DecoderState, Sources

SOURCE, LENGTHS, TARGET = (f"{BATCH}{f}" for f in ("source", "source_lengths", "target_input"))
TARGET_FIELDS = (TARGET, f"{BATCH}target_index")
FP32 = FloatFormat(torch.float32)


@dataclass(frozen=True)
class StepResult:
    """One step of all rows."""

    logits: Tensor  # (R, V) in fp32, or (R, U) of the words of the state
    attention: Tensor  # (B, K, S) in fp32, of the graph's alignment layer
    state: DecoderState


class _Target(NamedTuple):
    """A target-side layer in its place."""

    name: str
    layer: TargetLayer
    inputs: tuple[str, ...]  # of the target side, which change at every step
    source_inputs: tuple[str, ...]  # layers of the source side


class Stepper:
    """A model's layers on their devices, ready for decoding. Holds no request's state."""

    def __init__(
        self,
        graph: LayerGraph,
        weights: Mapping[str, Tensor],
        device_of: Callable[[str], str],
        number_format: Format = FP32,
        shortlist: Shortlist | None = None,
        padded: bool | None = None,
    ) -> None:
        """`weights` by canonical name; `device_of` a layer's name. `padded` says whether sources
        are encoded as `PaddedSource` does; None: where all is on one GPU."""
        target = _target_side(graph)
        self._source_nodes = [node for node in graph.nodes if node.name not in target]
        layers = _layers(graph, weights, {name: device_of(name) for name in graph.names})
        devices = {layer_device(layer) for layer in layers.values()}
        self.devices = sorted(map(str, devices))
        gpu = len(devices) == 1 and not any(device.type == "cpu" for device in devices)
        self.gpu = devices.pop() if gpu else None  # the only device
        self.padded: PaddedSource | None = None
        if isinstance(number_format, FloatFormat) and (gpu if padded is None else padded):
            self.padded = PaddedSource(self._source_nodes, layers, number_format.dtype)
        bounds: dict[str, float] = {}
        self._source: dict[str, SourceLayer] = {}
        if self.padded is None:
            for node in self._source_nodes:
                made = SOURCE_LAYERS[type(layers[node.name])](
                    layers[node.name], number_format, _bounds(node, bounds)
                )
                self._source[node.name], bounds[node.name] = made, made.bound
        self._target: list[_Target] = []
        for node in (node for node in graph.nodes if node.name in target):
            kind = TARGET_LAYERS[type(layers[node.name])]
            step = kind(layers[node.name], number_format, _bounds(node, bounds))
            bounds[node.name] = step.bound
            self._target.append(_placed(node, step, target))
        assert graph.alignment is not None, "a graph that translates names its alignment layer"
        self._alignment = graph.alignment
        output = self._target[-1].layer
        assert isinstance(output, OutputStep), "the graph ends with it"
        self._output = output
        # On a GPU, choosing the output layer's rows for each batch would take longer than it saves.
        self.shortlist = shortlist if output.device.type == "cpu" else None
        if self.shortlist is None:
            output.score_all()
        self.native = self._native(number_format)
        self.idle_graphs: list[Any] = []  # of batches that are empty now; see `cuda_graphs`

    def _native(self, number_format: Format) -> NativeModel | None:
        """The layers for compiled code."""
        if self.padded is not None:
            return None
        source = {
            node.name: SourcePlace(
                self._source[node.name],
                tuple(name for name in node.inputs if not name.startswith(BATCH)),
            )
            for node in self._source_nodes
        }
        target = {
            name: TargetPlace(layer, tuple(one for one in inputs if one != TARGET), source_inputs)
            for name, layer, inputs, source_inputs in self._target
        }
        return native_model(number_format, source, target, self._alignment)

    @torch.inference_mode()
    def start(
        self,
        sources: Sequence[Sequence[int]],
        beams: int,
        coverage: bool = False,
        narrow: bool = True,
        encode: Callable[[Tensor, Tensor], Sources] | None = None,
    ) -> DecoderState:
        """Encode sources (tokens without special ones) → the state before the first step, with
        `beams` equal rows for each sentence; `narrow` lets only tokens of the model's shortlist be
        written, if it has one. `encode` does what `self.encode` does."""
        ids, lengths = pad([[*source, EOS] for source in sources])
        side = (encode or self.encode)(ids, lengths)
        if self.shortlist and narrow:
            side = replace(side, allowed=self.shortlist.allowed(sources))
        rows = len(sources) * beams
        states = {target.name: target.layer.start(rows) for target in self._target}
        attended = None
        if coverage:
            attended = side.memories[self._alignment].bias.new_zeros(rows, side.longest)
        recurrent = {name: state for name, state in states.items() if state}
        return DecoderState(beams, recurrent, side, attended)

    @torch.inference_mode()
    def encode(self, ids: Tensor, lengths: Tensor) -> Sources:
        """Tokens (B, S) with ends and padding, lengths (B,) → the source side. With `padded`,
        nothing here waits for a GPU."""
        if self.padded is None:
            packing = Packing.of(lengths)
            outputs = {SOURCE: packing.pack(ids)}
            for node in self._source_nodes:
                inputs = [outputs[name] for name in node.inputs if name != LENGTHS]
                outputs[node.name] = self._source[node.name].encode(inputs, packing)
            layout: Packing | Padding = packing
        else:
            device = self.padded.device
            lengths_there = lengths.to(device, non_blocking=True)
            outputs = self.padded(ids.to(device, non_blocking=True), lengths_there)
            layout = Padding(lengths_there, ids.shape[1])
        memories = {
            target.name: target.layer.remember([outputs[n] for n in target.source_inputs], layout)
            for target in self._target
            if target.source_inputs
        }
        return Sources(memories, lengths, ids.shape[1])

    @torch.inference_mode()
    def step(self, state: DecoderState, tokens: Tensor) -> StepResult:
        """Read each row's last token (R,) → scores of its next one, of the tokens in
        `sources.words`, or of all."""
        sources = state.sources
        if sources.allowed is not None and sources.words is None:
            sources = self._output.narrowed(sources)
        outputs = {TARGET: tokens}
        recurrent = dict(state.recurrent)
        attention = None
        for name, layer, inputs, _ in self._target:
            given = [outputs[one] for one in inputs]
            outputs[name], after, weights = layer.step(given, recurrent.get(name, ()), sources)
            if after:
                recurrent[name] = after
            if name == self._alignment:
                attention = weights
        assert attention is not None, "the alignment layer has weights"
        attended = state.attended
        if attended is not None:
            attended = attended + attention.flatten(0, 1)
        state = DecoderState(state.beams, recurrent, sources, attended)
        return StepResult(outputs[name], attention, state)


def layer_device(layer: Layer) -> torch.device:
    """Where its parameters are."""
    return next(layer.parameters()).device


def _bounds(node: Node, bounds: Mapping[str, float]) -> list[float]:
    """Of the layers that a node reads. Float formats, which alone `PaddedSource` has, need none."""
    return [bounds.get(name, inf) for name in node.inputs if not name.startswith(BATCH)]


def _placed(node: Node, layer: TargetLayer, target: set[str]) -> _Target:
    inputs = tuple(name for name in node.inputs if name in target or name == TARGET)
    others = (name for name in node.inputs if name not in target)
    return _Target(node.name, layer, inputs, tuple(n for n in others if not n.startswith(BATCH)))


def _target_side(graph: LayerGraph) -> set[str]:
    """The layers that depend on the target."""
    names: set[str] = set()
    for node in graph.nodes:
        if any(name in names or name in TARGET_FIELDS for name in node.inputs):
            names.add(node.name)
    assert not any(
        name.startswith(BATCH) and name not in (SOURCE, LENGTHS)
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
    on_device: dict[tuple[str, str], Tensor] = {}

    def value(name: str, device: str) -> Tensor:
        if (name, device) not in on_device:
            on_device[name, device] = weights[name].to(device, torch.float32)
        return on_device[name, device]

    layers: dict[str, Layer] = {}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        values = {
            name: value(canonical_name(node, name), devices[node.name])
            for name, _ in layer.named_parameters()
        }
        layer.load_state_dict(values, assign=True)
        layers[node.name] = layer.requires_grad_(False)
    return layers
