"""The layers of a model as decoding runs them, their weights prepared once in a number format.

Every LSTM is computed step by step here: the matrices of a target-side layer stand side by side, so
that a step is one product; a source-side layer multiplies its inputs of all time steps at once.
(`nn.LSTM` packs its weights anew at every call.) Layers hand codes of the format to each other, and
know the largest absolute value that they can give (`bound`).

B sentences, N tokens of their sources, S of the longest one, K hypotheses of each, R = B * K rows,
A attention units, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels import kernels_for
from nmt.kernels.attention import StepScores
from nmt.kernels.lstm import lstm_cell
from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import length_mask
from nmt.model.clip import LOGITS
from nmt.model.embedding import Embedding
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output
from nmt.precision.formats import Format, Weights
from nmt.runtime.packing import Packing
from nmt.runtime.state import Sources, Words

MULTIPLE = 256  # of pieces that are scored
LSTM_BOUND = 1.0  # of sigmoid times tanh


class EmbeddingStep:
    """A row of the matrix for each piece."""

    def __init__(self, layer: Embedding, form: Format) -> None:
        weight = layer.weight * sqrt(layer.weight.shape[1])
        self.bound = max(float(weight.abs().max()), 1e-30)
        self.weight = form.encode(weight, self.bound)

    def __call__(self, pieces: Tensor) -> Tensor:
        """(…,) → (…, H)."""
        return F.embedding(pieces.to(self.weight.device), self.weight)


class _Lstm:
    """What both sides' LSTM layers have."""

    def __init__(self, layer: LstmLayer, form: Format, bounds: Sequence[float]) -> None:
        self.form = form
        self.device = next(layer.parameters()).device
        self.hidden = layer.lstm.hidden_size
        self.input_bounds = list(bounds)
        self.residuals = layer.residuals
        self.bound = LSTM_BOUND + sum(bounds[: self.residuals])
        self.clip = None if layer.clip is None else layer.clip.bound
        if self.clip is not None:
            self.bound = min(self.bound, self.clip)
        self.cells = None if layer.cells is None else layer.cells.bound
        width = layer.lstm.input_size // len(bounds)
        self.inputs = [(width, bound) for bound in bounds]

    def start(self, rows: int) -> tuple[Tensor, Tensor]:
        """The state before the first step: h coded, c in fp32."""
        c = torch.zeros(rows, self.hidden, device=self.device)
        return self.form.encode(c, LSTM_BOUND), c

    def output(self, h: Tensor, code: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """h, its code, and the coded inputs → the layer's output with its residual connections,
        coded."""
        if not self.residuals:
            return code
        bounds = self.input_bounds[: self.residuals]
        result = h + self.form.add(inputs[: self.residuals], bounds)
        if self.clip is not None:
            result.clamp_(-self.clip, self.clip)
        return self.form.encode(result, self.bound)


class LstmStep(_Lstm):
    """One time step of a target-side layer."""

    def __init__(self, layer: LstmLayer, form: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, form, bounds)
        weight_ih, weight_hh, bias = _matrices(layer)
        inputs = [*self.inputs, (self.hidden, LSTM_BOUND)]
        self._linear = form.linear(torch.cat([weight_ih, weight_hh], 1), bias, inputs)

    def __call__(
        self, inputs: Sequence[Tensor], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Inputs (R, ·) side by side and (h, c) → output (R, H) and the next (h, c)."""
        h, c = state
        inputs = [x.to(self.device) for x in inputs]
        gates = self._linear(torch.cat([*inputs, h], 1))
        if (own := kernels_for(gates)) is not None:
            h, code, c = own.lstm_cell(gates, c, self.cells, h.dtype)
        else:
            h, c = lstm_cell(gates.float(), c, self.cells)
            code = self.form.encode(h, LSTM_BOUND)
        return self.output(h, code, inputs), (code, c)


class LstmScan(_Lstm):
    """All time steps of a source-side layer."""

    def __init__(self, layer: LstmLayer, form: Format, bounds: Sequence[float]) -> None:
        super().__init__(layer, form, bounds)
        weight_ih, weight_hh, bias = _matrices(layer)
        self._linear = form.linear(weight_ih, bias, self.inputs)
        self._recurrent = form.linear(weight_hh, None, [(self.hidden, LSTM_BOUND)])
        self._reverse = layer.reverse

    def __call__(self, inputs: Sequence[Tensor], packing: Packing) -> Tensor:
        """Inputs (N, ·) side by side → (N, H)."""
        inputs = [x.to(self.device) for x in inputs]
        x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
        mirrored = packing.mirrored.to(self.device)
        if self._reverse:
            x = x[mirrored]
        gates = self._linear(x).float()
        code, c = self.start(packing.rows[0])
        hidden, codes = gates.new_empty(len(gates), self.hidden), []
        for part, out in zip(gates.split(packing.rows), hidden.split(packing.rows), strict=True):
            n = len(part)
            h, c = lstm_cell(part.add_(self._recurrent(code[:n])), c[:n], self.cells, out)
            code = self.form.encode(h, LSTM_BOUND)
            codes.append(code)
        code = torch.cat(codes)
        if self._reverse:
            assert not self.residuals, "read the right way round"
            code = code[mirrored]
        return self.output(hidden, code, inputs)


def _matrices(layer: LstmLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the inputs and of the state, and the sum of both biases, as `lstm_cell` wants
    them: with the cell's rows doubled, which is exact."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.lstm.parameters()
    double = torch.ones(4, 1, device=bias_ih.device)
    double[2] = 2  # PyTorch's order: input, forget, cell, output
    double = double.repeat_interleave(layer.lstm.hidden_size, 0)
    return weight_ih * double, weight_hh * double, (bias_ih + bias_hh) * double[:, 0]


class KeysStep:
    """The source side of the attention, once a sentence: (N, H) → (N, A)."""

    def __init__(self, layer: AttentionKeys, form: Format, bound: float) -> None:
        self.device = layer.weight.device
        self._linear = form.linear(layer.weight, None, [(layer.weight.shape[1], bound)])
        self.bound = float("inf")  # never coded

    def __call__(self, memory: Tensor) -> Tensor:
        """(N, H) → (N, A), not coded."""
        return self._linear(memory.to(self.device))


class AttentionStep:
    """Queries (R, H) of K hypotheses against their sentence's keys, which are there once."""

    def __init__(self, layer: Attention, form: Format, query_bound: float, bound: float) -> None:
        self.form = form
        width = layer.query_weight.shape[1]
        self._query = form.linear(layer.query_weight, layer.bias, [(width, query_bound)])
        self._scores = StepScores(layer.score_weight)
        self.device = layer.bias.device
        self.bound = bound  # a context is a mean of vectors of the memory

    def sources(self, keys: Tensor, memory: Tensor, packing: Packing) -> Sources:
        """(N, A), coded memory (N, H) → the source side as the steps read it."""
        keys, memory, bias = self.source_side(keys, memory, packing.lengths, len(packing.rows))
        return Sources(packing.pad(keys), packing.pad(memory), bias, packing.lengths)

    def source_side(
        self, keys: Tensor, memory: Tensor, lengths: Tensor, longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(…, A), coded memory (…, H), lengths (B,) → the fields of `Sources`, the first two of the
        same shapes as they are given in."""
        there = length_mask(lengths, longest).to(self.device)
        bias = torch.zeros(there.shape, device=self.device)
        bias.masked_fill_(~there, float("-inf"))
        memory = self.form.decode(memory.to(self.device), self.bound).float()
        return self._scores.keys(keys.to(self.device)), memory, bias

    def __call__(self, queries: Tensor, sources: Sources) -> tuple[Tensor, Tensor]:
        """(R, H) → coded contexts (R, H), and weights (B, K, S) in fp32, rows summing to 1."""
        scores = self._scores(self._query(queries.to(self.device)), sources.keys)
        weights = scores.add_(sources.bias[:, None]).softmax(-1)
        context = torch.bmm(weights, sources.memory).flatten(0, 1)
        return self.form.encode(context, self.bound), weights


class OutputStep:
    """The scores of all pieces."""

    def __init__(
        self, layer: Output, form: Format, bounds: Sequence[float], narrow: bool = False
    ) -> None:
        """`narrow` keeps what `words` needs, a second copy of the weights."""
        self.bound = float("inf")  # never coded
        # In bf16 the product's result is rounded; what is added to it afterwards is not.
        self._bias = layer.bias.float() if form.rounds else None
        bias = None if form.rounds else layer.bias
        inputs = [(layer.weight.shape[1], sum(bounds))]
        weights = form.weights(layer.weight, bias, inputs)
        self._weights = weights if narrow else None
        self._form, self._bounds, self._clipped = form, bounds, layer.clipped
        self.device = weights.values.device
        self._scores = self._scores_of(weights, self._bias)

    def __call__(self, vectors: Sequence[Tensor]) -> Tensor:
        """One or more coded (R, H), to be added up → logits (R, V) in fp32."""
        return self._scores(vectors)

    def words(self, allowed: Tensor) -> Words:
        """The pieces (B, V) that sentences may write, with the output layer for them alone."""
        assert self._weights is not None, "made for it"
        some = allowed.any(0)
        # A multiple, since oneDNN makes a program for each number of pieces that it meets.
        others = (~some).nonzero()[: -int(some.sum()) % MULTIPLE, 0]
        some[others] = True
        ids = some.nonzero()[:, 0]
        places = torch.zeros(allowed.shape[1], dtype=torch.int64)
        places[ids] = torch.arange(len(ids))
        rows = ids.to(self.device)
        bias = None if self._bias is None else self._bias[rows]
        scores = self._scores_of(self._weights.rows(rows), bias)
        blocked = ~allowed.index_select(1, ids)
        hopeless = torch.zeros(blocked.shape).masked_fill_(blocked, float("-inf"))
        return Words(ids, places, hopeless.to(rows.device), scores)

    def _scores_of(self, weights: Weights, bias: Tensor | None) -> _Scores:
        return _Scores(self._form, weights, bias, self._bounds, self._clipped)


class _Scores:
    """The scores of some or all pieces."""

    def __init__(
        self,
        form: Format,
        weights: Weights,
        bias: Tensor | None,
        bounds: Sequence[float],
        clipped: bool,
    ) -> None:
        self.form = form
        self.device = weights.values.device
        self._linear, self._bias = form.prepared(weights), bias
        self._bounds, self._clipped = bounds, clipped

    def __call__(self, vectors: Sequence[Tensor]) -> Tensor:
        """One or more coded (R, H), to be added up → logits (R, pieces) in fp32."""
        x = self.form.add([vector.to(self.device) for vector in vectors], self._bounds)
        logits = self._linear.exact(self.form.encode(x, sum(self._bounds)))
        if self._bias is not None:
            logits.add_(self._bias)
        return logits.clamp_(-LOGITS, LOGITS) if self._clipped else logits
