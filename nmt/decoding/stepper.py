"""The model as decoding runs it: whole sources through the encoder, targets one piece at a time.

Every target-side layer of the graph has a counterpart here that computes one step for all rows,
with its weights prepared once: the matrices of an LSTM side by side, so that a step is one product
(`nn.LSTM` packs its weights anew at every call). A test holds each against the graph's own pass.

Each layer's weights are on its device; inputs come to where the weights are.

B sentences, K hypotheses of each, R = B * K rows, S longest source, A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.decoding.state import DecoderState, Sources
from nmt.model.attention import Attention
from nmt.model.batch import EOS, length_mask, pad
from nmt.model.dropout import EVALUATION
from nmt.model.embedding import Embedding
from nmt.model.graph import BATCH, Layer, LayerGraph, LayerStack, total
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output

TARGET_FIELDS = ("batch.target_input", "batch.target_index")
SOURCE_FIELDS = ("batch.source", "batch.source_lengths")
# exp(2 * 43) and its inverse are normal numbers of fp32, so that no product of two is 0 * inf.
LARGEST_ENERGY = 43.0


class EmbeddingStep:
    """A row of the matrix for each piece."""

    def __init__(self, layer: Embedding, dtype: torch.dtype) -> None:
        self.weight = layer.weight.to(dtype)
        self.scale = sqrt(layer.weight.shape[1])

    def __call__(self, pieces: Tensor) -> Tensor:
        """(R,) → (R, H)."""
        return F.embedding(pieces.to(self.weight.device), self.weight) * self.scale


class LstmStep:
    """One time step of an LSTM layer. The cell's state c is in fp32 whatever the weights are."""

    def __init__(self, layer: LstmLayer, dtype: torch.dtype) -> None:
        lstm = layer.lstm
        matrices = dict(lstm.named_parameters())
        weight = torch.cat([matrices["weight_ih_l0"], matrices["weight_hh_l0"]], 1)
        bias = matrices["bias_ih_l0"] + matrices["bias_hh_l0"]
        # tanh x = 2 sigmoid(2 x) - 1: with the cell's rows doubled, one sigmoid serves all gates.
        # On a CPU it takes a fraction of the time of tanh. Doubling is exact.
        double = torch.ones(4, 1, device=bias.device)
        double[2] = 2  # PyTorch's order: input, forget, cell, output
        double = double.repeat_interleave(lstm.hidden_size, 0)
        self.weight = (weight * double).to(dtype)
        self.bias = (bias * double[:, 0]).to(dtype)
        self.residuals = layer.residuals
        self.hidden = lstm.hidden_size

    def start(self, rows: int) -> tuple[Tensor, Tensor]:
        """The state before the first piece."""
        h = torch.zeros(rows, self.hidden, dtype=self.weight.dtype, device=self.weight.device)
        return h, torch.zeros_like(h, dtype=torch.float32)

    def __call__(
        self, inputs: Sequence[Tensor], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Inputs (R, ·) side by side and (h, c) → output (R, H) and the next (h, c)."""
        h, c = state
        inputs = [x.to(self.weight.device) for x in inputs]
        gates = F.linear(torch.cat([*inputs, h], 1), self.weight, self.bias).float().sigmoid_()
        let_in, keep, cell, let_out = gates.chunk(4, 1)
        c = torch.addcmul(c * keep, let_in, cell.mul_(2).sub_(1))
        h = (let_out * (c * 2).sigmoid_().mul_(2).sub_(1)).to(self.weight.dtype)
        return total([h, *inputs[: self.residuals]]), (h, c)


class AttentionStep:
    """Queries (R, H) of K hypotheses against their sentence's keys, which are there once.

    v · tanh(q + k) = Σ v - 2 v · 1 / (1 + exp(2 q) exp(2 k)), and the softmax does not see the
    first term. The exponentials are taken of the queries and the keys alone, not of all their sums,
    of which there are S times as many.
    """

    def __init__(self, layer: Attention, dtype: torch.dtype) -> None:
        self.query_weight = layer.query_weight.to(dtype)
        self.bias = layer.bias.to(dtype)
        self.score_weight = -2 * layer.score_weight[0].float()
        self.one = torch.ones((), device=self.bias.device)

    def sources(self, keys: Tensor, memory: Tensor, lengths: Tensor) -> Sources:
        """(B, S, A), (B, S, H), (B,) → the source side as the steps read it."""
        device = self.one.device
        padding = ~length_mask(lengths, keys.shape[1]).to(device)
        bias = torch.zeros(padding.shape, device=device).masked_fill_(padding, float("-inf"))
        return Sources(_exponential(keys.to(device)), memory.to(device).float(), bias, lengths)

    def __call__(self, queries: Tensor, sources: Sources) -> tuple[Tensor, Tensor]:
        """(R, H) → contexts (R, H) and weights (B, K, S) in fp32, rows summing to 1."""
        B, _, A = sources.keys.shape
        queries = F.linear(queries.to(self.bias.device), self.query_weight, self.bias)
        q = _exponential(queries).view(B, -1, 1, A)
        # (B, K, S, A), the largest tensor of a step by far: written once and changed in place
        energies = torch.addcmul(self.one, q, sources.keys[:, None]).reciprocal_()
        scores = energies @ self.score_weight + sources.bias[:, None]
        weights = scores.softmax(-1)
        context = torch.bmm(weights, sources.memory).flatten(0, 1)
        return context.to(self.bias.dtype), weights


class OutputStep:
    """The scores of all pieces."""

    def __init__(self, layer: Output, dtype: torch.dtype) -> None:
        self.weight = layer.weight.to(dtype)
        self.bias = layer.bias.float()

    def __call__(self, vectors: Sequence[Tensor]) -> Tensor:
        """One or more (R, H), to be added up → logits (R, V) in fp32."""
        x = total([vector.to(self.weight.device) for vector in vectors])
        if self.weight.dtype == torch.float32:
            return F.linear(x, self.weight, self.bias)
        return F.linear(x, self.weight).float() + self.bias


Step = EmbeddingStep | LstmStep | AttentionStep | OutputStep


@dataclass(frozen=True)
class StepResult:
    """One step of all rows."""

    logits: Tensor  # (R, V) in fp32
    attention: Tensor  # (B, K, S) in fp32
    state: DecoderState


class Stepper:
    """A model's layers on their devices, ready for decoding. Holds no request's state."""

    def __init__(
        self,
        graph: LayerGraph,
        weights: Mapping[str, Tensor],
        device_of: Callable[[str], str],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`weights` by canonical name; `device_of` a layer's name; `dtype` fp32 or bf16."""
        target = _target_side(graph)
        self._source_nodes = [node for node in graph.nodes if node.name not in target]
        self._target_nodes = [node for node in graph.nodes if node.name in target]
        self._devices = {name: device_of(name) for name in graph.names}
        self._encoder: dict[str, Layer] = {}
        self._steps: dict[str, Step] = {}
        for stack in _stacks(graph, weights, self._devices):
            steps = [node for node in stack.nodes if node.name in target]
            self._steps |= {node.name: _step_of(stack.layer(node.name), dtype) for node in steps}
            layers = [stack.layer(node.name) for node in stack.nodes if node.name not in target]
            self._encoder |= {layer.name: layer.to(dtype).eval() for layer in layers}
        attention = [
            n for n in self._target_nodes if isinstance(self._steps[n.name], AttentionStep)
        ]
        assert len(attention) == 1, "one attention layer"
        self._attention = attention[0]

    @torch.inference_mode()
    def start(
        self, sources: Sequence[Sequence[int]], beams: int, coverage: bool = False
    ) -> DecoderState:
        """Encode sources (pieces without special ones) → the state before the first step, with
        `beams` equal rows for each sentence."""
        ids, lengths = pad([[*source, EOS] for source in sources])
        outputs = dict(zip(SOURCE_FIELDS, (ids, lengths), strict=True))
        for node in self._source_nodes:
            inputs = [outputs[name].to(self._devices[node.name]) for name in node.inputs]
            outputs[node.name], _ = self._encoder[node.name](inputs, (), EVALUATION)
        attention = self._steps[self._attention.name]
        assert isinstance(attention, AttentionStep)
        _, keys, memory, _ = self._attention.inputs
        side = attention.sources(outputs[keys], outputs[memory], lengths)
        rows = len(sources) * beams
        recurrent = {
            name: step.start(rows)
            for name, step in self._steps.items()
            if isinstance(step, LstmStep)
        }
        attended = side.bias.new_zeros(rows, side.bias.shape[1]) if coverage else None
        return DecoderState(beams, recurrent, side, attended)

    @torch.inference_mode()
    def step(self, state: DecoderState, pieces: Tensor) -> StepResult:
        """Read each row's last piece (R,) → scores of its next one."""
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
                    output = step(given)
                case EmbeddingStep():
                    output = step(given[0])
            outputs[node.name] = output
        assert attention is not None, "one attention layer"
        attended = state.attended
        if attended is not None:
            attended = attended + attention.flatten(0, 1)
        state = replace(state, recurrent=recurrent, attended=attended)
        return StepResult(outputs[self._target_nodes[-1].name], attention, state)


def _exponential(x: Tensor) -> Tensor:
    return x.float().clamp(-LARGEST_ENERGY, LARGEST_ENERGY).mul_(2).exp_()


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


def _stacks(
    graph: LayerGraph, weights: Mapping[str, Tensor], devices: Mapping[str, str]
) -> list[LayerStack]:
    """The layers of each device; those that share a device share tied parameters."""
    stacks = []
    for device in dict.fromkeys(devices.values()):
        stack = graph.build([name for name in graph.names if devices[name] == device], seed=0)
        stack.load(weights)
        stacks.append(stack.requires_grad_(False).to(device))
    return stacks


def _step_of(layer: Layer, dtype: torch.dtype) -> Step:
    match layer:
        case Embedding():
            return EmbeddingStep(layer, dtype)
        case LstmLayer():
            return LstmStep(layer, dtype)
        case Attention():
            return AttentionStep(layer, dtype)
        case Output():
            return OutputStep(layer, dtype)
    raise AssertionError(f"no step for {type(layer).__name__}")
