"""A model as compiled code runs it on a CPU; `nmt/kernels/native` holds the code.

K hypotheses of a sentence, S positions of its source, C most tokens of its translation, H units,
A attention units, V vocabulary, U tokens that may be written.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import addressof, byref, c_int64, c_void_p, pointer
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.kernels.native import (
    FORMATS,
    MAX_ATTENTIONS,
    MAX_INPUTS,
    MAX_LAYERS,
    LayerStruct,
    ModelStruct,
    NativeLayer,
    PackedMatrix,
    SentenceStruct,
    address,
    aligned,
    library,
)
from nmt.model.batch import BOS
from nmt.precision.formats import Format
from nmt.runtime.layer import RuntimeLayer, SourceLayer, TargetLayer
from nmt.runtime.output import OutputStep


@dataclass(frozen=True)
class SourcePlace:
    """A source-side layer in its place."""

    layer: SourceLayer
    inputs: tuple[str, ...]  # earlier layers of the source side


@dataclass(frozen=True)
class TargetPlace:
    """A target-side layer in its place."""

    layer: TargetLayer
    inputs: tuple[str, ...]  # earlier layers of the target side
    memory: tuple[str, ...]  # the layers of the source side that it reads: keys and values


@dataclass(frozen=True)
class Search:
    """What the search of one sentence goes by."""

    beams: int  # K
    longest: int  # C
    ngram: int  # n-grams of that size occur at most `limit` times; 0: as often as they like
    limit: int
    coverage: float  # weight of the coverage penalty; 0: none
    alignments: bool  # whether the attention of all steps is kept
    words: Tensor | None = None  # (U,) the only tokens that may be written, rising; None: all


@dataclass(frozen=True)
class Written:
    """A hypothesis as it was written."""

    tokens: list[int]  # without special ones
    log_probability: float
    coverage: float  # the penalty
    alignment: Tensor | None  # (T, S), if it is kept


class NativeModel:
    """The layers of a model for compiled code, with the code. Holds no request's state."""

    def __init__(
        self,
        code: ctypes.CDLL,
        number_format: int,
        source: Mapping[str, SourcePlace],
        target: Mapping[str, TargetPlace],
        layers: Mapping[str, NativeLayer],
        alignment: str,
    ) -> None:
        """Most callers want `native_model`."""
        self._code, self._owned = code, dict(layers)
        sources, targets = list(source), list(target)
        struct = ModelStruct(number_format, len(source), len(target))
        for name, place in source.items():
            bounds = [source[one].layer.bound for one in place.inputs]
            layers[name].reads([sources.index(one) for one in place.inputs], bounds)
        self._memories: list[tuple[int, int]] = []  # of each attention: A, H
        for name, reader in target.items():
            bounds = [target[one].layer.bound for one in reader.inputs]
            layers[name].reads([targets.index(one) for one in reader.inputs], bounds)
            if reader.memory:
                keys, values = reader.memory
                number = len(self._memories)
                struct.keys[number], struct.values[number] = map(sources.index, reader.memory)
                self._memories.append((layers[keys].struct.width, layers[values].struct.width))
                layers[name].struct.memory = number
                layers[name].struct.width = layers[values].struct.width
                if name == alignment:
                    struct.alignment = number
        struct.attention_count = len(self._memories)
        self._layers = [
            (LayerStruct * len(side))(*(layers[name].struct for name in side))
            for side in (sources, targets)
        ]
        struct.source, struct.target = self._layers
        self._struct = struct
        output = target[targets[-1]].layer
        assert isinstance(output, OutputStep), "the graph ends with it"
        self._output = output
        self._tokens = min(layer.tokens for layer in layers.values() if layer.tokens is not None)
        written = layers[targets[-1]].struct.first.outputs
        assert written <= self._tokens, "each token that is written can be read"
        self._state_bytes: int = code.nmt_state_bytes(byref(struct))

    def start(
        self, sources: Sequence[Sequence[int]], searches: Sequence[Search], threads: int
    ) -> list[NativeSentence]:
        """Encode sources, tokens with their ends → their searches before the first step.

        Raises:
            IndexError: a token is not in the vocabulary, or a source is empty.
            MemoryError: there is not enough for their encodings.
        """
        for source in sources:
            if not source or min(source) < 0 or max(source) >= self._tokens:
                raise IndexError(f"tokens of a source must be 0 to {self._tokens - 1}")
        sentences = [
            NativeSentence(
                len(source), search, self._memories, self._state_bytes, self._chosen(search)
            )
            for source, search in zip(sources, searches, strict=True)
        ]
        order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
        tokens = [token for i in order for token in sources[i]]
        lengths = [len(sources[i]) for i in order]
        memories = [address for i in order for address in sentences[i].memories]
        encoded = self._code.nmt_encode(
            byref(self._struct),
            (c_int64 * len(tokens))(*tokens),
            (c_int64 * len(lengths))(*lengths),
            len(sources),
            (c_void_p * len(memories))(*memories),
            threads,
        )
        if not encoded:
            raise MemoryError(f"no memory to encode {len(tokens)} tokens")
        for sentence in sentences:
            self._code.nmt_start(byref(self._struct), byref(sentence.struct))
        return sentences

    def room(self, threads: int) -> Tensor:
        """What a batch needs for its steps by so many threads."""
        return aligned(self._code.nmt_room_bytes(byref(self._struct), threads))

    def step(self, sentences: Sentences, room: Tensor, threads: int) -> list[int]:
        """Extend every hypothesis of some sentences, which have equally many, by one token → the
        numbers of those that are done or have new finished hypotheses."""
        found: int = self._code.nmt_step(
            byref(self._struct),
            sentences.pointers,
            len(sentences.pointers),
            room.data_ptr(),
            threads,
            sentences.events,
        )
        return sentences.events[:found]

    def _chosen(self, search: Search) -> tuple[Tensor, PackedMatrix, Tensor | None] | None:
        if search.words is None:
            return None
        return search.words, *self._output.native_words(search.words)


class NativeSentence:
    """The search of one sentence. Owns what the compiled code works on."""

    def __init__(
        self,
        positions: int,
        search: Search,
        memories: Sequence[tuple[int, int]],
        state_bytes: int,
        words: tuple[Tensor, PackedMatrix, Tensor | None] | None,
    ) -> None:
        """See `NativeModel.start`; `memories` are the widths of keys and values."""
        K, S, C = search.beams, positions, search.longest
        self._running: NDArray[np.float32] = np.full(K, -np.inf, dtype=np.float32)
        self._running[0] = 0.0  # all hypotheses are equal at first: one is enough
        self._last = np.full(K, BOS, dtype=np.int64)
        self._tokens = np.zeros((3, K, C), dtype=np.int64)  # in turns, and of finished hypotheses
        self._attended = np.zeros((2, K, S), dtype=np.float32) if search.coverage else None
        self._weights = np.zeros((len(memories), K, S), dtype=np.float32)
        self._weights_of_head = np.zeros(S, dtype=np.float32)
        self._attention = np.zeros((C, K, S), dtype=np.float32) if search.alignments else None
        self._parents = np.zeros((C, K), dtype=np.int64)
        self._state = aligned(2 * K * state_bytes)
        self._memory = [
            [np.empty((S, width), dtype=np.float32) for width in widths] for widths in memories
        ]
        self.memories = [_address(x) for pair in self._memory for x in pair]
        self._words = words
        self.struct = SentenceStruct(
            K=K,
            S=S,
            C=C,
            ngram=search.ngram,
            limit=search.limit,
            coverage=search.coverage,
            enough=-np.inf,
        )
        self.address = addressof(self.struct)
        self._point(K * state_bytes)

    def _point(self, state_bytes: int) -> None:
        """Fill in the addresses."""
        struct = self.struct
        struct.running, struct.last = _address(self._running), _address(self._last)
        tokens = _address(self._tokens)
        each = self._tokens[0].nbytes
        struct.tokens, struct.spare_tokens = tokens, tokens + each
        struct.finished_tokens = tokens + 2 * each
        struct.state = self._state.data_ptr()
        struct.spare = struct.state + state_bytes
        if self._attended is not None:
            struct.attended = _address(self._attended)
            struct.spare_attended = struct.attended + self._attended[0].nbytes
        struct.weights, struct.parents = _address(self._weights), _address(self._parents)
        struct.weights_of_head = _address(self._weights_of_head)
        if self._attention is not None:
            struct.attention = _address(self._attention)
        for number in range(len(self.memories) // 2):
            struct.keys[number], struct.values[number] = self.memories[2 * number : 2 * number + 2]
        if self._words is not None:
            allowed, matrix, bias = self._words
            struct.output, struct.allowed = pointer(matrix.struct), address(allowed)
            struct.output_bias = address(bias)

    @property
    def length(self) -> int:
        """Tokens of each open hypothesis."""
        length: int = self.struct.length
        return length

    def ended(self) -> list[Written]:
        """The hypotheses that ended in the last step, the best first, without their ends."""
        struct, length = self.struct, self.length - 1
        return [
            Written(
                self._tokens[2, number, :length].tolist(),
                struct.finished_scores[number],
                struct.finished_coverage[number],
                self._alignment(struct.finished_beams[number], length),
            )
            for number in range(struct.finished_count)
        ]

    def open(self, penalty: Callable[[NDArray[np.float32]], list[float]]) -> list[Written]:
        """The hypotheses that have not ended; `penalty` makes coverage penalties of sums of
        attention (K, S)."""
        # The code works on two arrays in turns.
        tokens = self._tokens[int(self.struct.tokens != _address(self._tokens))]
        coverage = [0.0] * len(tokens)
        if self._attended is not None:
            turn = int(self.struct.attended != _address(self._attended))
            coverage = penalty(self._attended[turn])
        return [
            Written(
                tokens[beam, : self.length].tolist(),
                float(self._running[beam]),
                coverage[beam],
                self._alignment(beam, self.length),
            )
            for beam in range(len(tokens))
            if self._running[beam] > -np.inf
        ]

    def is_done(self, enough: float) -> bool:
        """Whether the search is done when no open hypothesis of at most that log probability
        can win; later steps tell by themselves."""
        self.struct.enough = enough
        return bool(self.struct.done or self._running.max() <= self.struct.enough)

    def _alignment(self, beam: int, length: int) -> Tensor | None:
        """Attention (length, S) of the hypothesis that was `beam` after so many steps."""
        if self._attention is None:
            return None
        beams = np.empty(length, dtype=np.int64)
        for step in reversed(range(length)):
            beam = beams[step] = self._parents[step, beam]
        return torch.from_numpy(self._attention[np.arange(length), beams])


def _address(x: NDArray[Any]) -> int:
    """Where an array's numbers are; `x.ctypes.data` takes several times as long."""
    place: int = x.__array_interface__["data"][0]
    return place


class Sentences:
    """Some sentences for `NativeModel.step`."""

    def __init__(self, sentences: Sequence[NativeSentence]) -> None:
        self.pointers = (c_void_p * len(sentences))(*(one.address for one in sentences))
        self.events = (c_int64 * len(sentences))()
        self._owned = list(sentences)


def native_model(
    number_format: Format,
    source: Mapping[str, SourcePlace],
    target: Mapping[str, TargetPlace],
    alignment: str,
) -> NativeModel | None:
    """The model for compiled code; None where that is not built, or does not have its layers."""
    code = library()
    sizes = [len(place.inputs) for place in source.values()]
    sizes += [len(place.inputs) for place in target.values()]
    attentions = sum(bool(place.memory) for place in target.values())
    fits = max(len(source), len(target)) <= MAX_LAYERS and max(sizes) <= MAX_INPUTS
    if code is None or not fits or attentions > MAX_ATTENTIONS:
        return None
    layers: dict[str, NativeLayer] = {}
    runtime: dict[str, RuntimeLayer] = {name: place.layer for name, place in source.items()}
    runtime.update({name: place.layer for name, place in target.items()})
    for name, layer in runtime.items():
        native = layer.native() if layer.device.type == "cpu" else None
        if native is None:
            return None
        layers[name] = native
    return NativeModel(
        code,
        FORMATS[number_format.weight_type],
        source,
        target,
        layers,
        alignment,
    )
