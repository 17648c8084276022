"""Steps of the search on a GPU, replayed as CUDA graphs.

A step is about a hundred small kernels, and launching them one by one takes longer than running
them. A graph launches all of them at once, but always reads and writes the same memory: so there is
one for each rounded number of sentences and of source positions, with buffers of that size, and
beside the state one tensor goes in and one comes out. The first step of a size is an ordinary one,
since most sizes that occur once do not come back; the second is captured. Encoding sources works
the same way.

B sentences, K hypotheses of each, R = B * K rows, S longest source; B', S', R' rounded up.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from nmt.decoding.beam import best_keys, candidates_of_keys
from nmt.decoding.search_step import SearchStep, StepInput, StepOutcome
from nmt.decoding.state_buffers import SourceBuffers, StateBuffers, memory_bytes
from nmt.model.batch import BOS, PAD
from nmt.runtime.state import DecoderState, Memory, Sources
from nmt.runtime.stepper import Stepper

SENTENCES = 32  # powers of 2 up to here, and multiples from here on
POSITIONS = 16  # multiples
MOST_MEMORY = 0.125  # of a GPU's memory, for the buffers of one batch's graphs
MOST_IDLE = 2  # sets of graphs that are kept for the next batch

logger = logging.getLogger(__name__)
_CAPTURING = threading.Lock()  # PyTorch records one graph at a time

Replay = Callable[[], object]
# Makes a function's work repeatable, always in the same memory, its results included. It may run
# the function while recording it.
Capture = Callable[[Callable[[], None]], Replay]
Captured: TypeAlias = "CapturedSource | CapturedStep"
Made = TypeVar("Made", "CapturedSource", "CapturedStep")


def fastest_search_step(stepper: Stepper) -> SearchStep:
    """The fastest way to step a batch on the stepper's devices."""
    gpu = stepper.gpu
    if gpu is None:
        return SearchStep(stepper)
    _, memory = torch.cuda.mem_get_info(gpu)
    return GraphSearchStep(stepper, CudaGraphs(gpu).capture, int(MOST_MEMORY * memory))


class CudaGraphs:
    """Records what functions do on a GPU. The graphs share the memory of intermediate results, so
    they must not run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def capture(self, function: Callable[[], None]) -> Replay:
        """Record a function → what replays it; see `Capture`."""
        with _CAPTURING, torch.cuda.device(self._device):
            if self._stream is None:
                self._pool = torch.cuda.graph_pool_handle()
                self._stream = torch.cuda.Stream(self._device)
            graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            try:
                # Only what this thread does belongs to the graph.
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    function()
            finally:
                torch.cuda.set_stream(before)  # after an error it would be the other one
        return graph.replay


class CapturedGraphs:
    """Captured work by kind and size, for one running batch at a time."""

    def __init__(self, capture: Capture, most_bytes: int) -> None:
        self._capture, self._most_bytes = capture, most_bytes
        self.kept: OrderedDict[Hashable, Captured] = OrderedDict()  # the last used last
        self._seen: set[Hashable] = set()
        self._too_large: set[Hashable] = set()

    def get(self, key: Hashable, make: Callable[[Capture], Made]) -> Made | None:
        """The captured work of that kind and size; None if it should not be captured yet."""
        if key not in self._seen or key in self._too_large:
            self._seen.add(key)
            return None
        kept = self.kept.get(key)
        if kept is not None:
            self.kept.move_to_end(key)
            return cast("Made", kept)  # the key says which kind
        try:
            made = make(self._capture)
        except torch.OutOfMemoryError:
            logger.warning("too little memory to capture %s; its steps are ordinary ones", key)
            self._too_large.add(key)
            return None
        self.kept[key] = made
        while len(self.kept) > 1 and self._bytes > self._most_bytes:
            evicted, _ = self.kept.popitem(last=False)
            self._seen.discard(evicted)
        return made

    @property
    def _bytes(self) -> int:
        return sum(one.bytes for one in self.kept.values())


class GraphSearchStep(SearchStep):
    """Steps one running batch, by captured graphs that no other batch uses meanwhile."""

    def __init__(self, stepper: Stepper, capture: Capture, most_bytes: int) -> None:
        super().__init__(stepper)
        self._capture, self._most_bytes = capture, most_bytes
        self._graphs: CapturedGraphs | None = None
        self._last: CapturedStep | None = None  # its buffers hold the batch's state

    def start(
        self, sources: Sequence[Sequence[int]], beams: int, coverage: bool, narrow: bool
    ) -> DecoderState:
        """See SearchStep."""
        stepper = self._stepper
        encode = None if stepper.padded is None else self._encode
        return stepper.start(sources, beams, coverage, narrow, encode)

    def _encode(self, ids: Tensor, lengths: Tensor) -> Sources:
        stepper = self._stepper
        size = rounded_sentences(len(ids)), rounded_positions(ids.shape[1])
        captured = self._captured.get(
            ("source", size), lambda capture: CapturedSource(stepper, size, capture)
        )
        return (captured or stepper.encode)(ids, lengths)

    def __call__(self, state: DecoderState, step_input: StepInput) -> StepOutcome:
        """See SearchStep."""
        assert state.sources.allowed is None, "a GPU scores all tokens"
        size = rounded_sentences(len(state)), rounded_positions(state.sources.longest)
        captured = self._captured.get(
            ("step", size, state.beams, state.attended is not None),
            lambda capture: CapturedStep(self._stepper, state, size, capture),
        )
        if captured is None or not captured.fits(step_input):
            return super().__call__(state, step_input)
        if self._last is not captured:
            self._forget()
            self._last = captured
        return captured(state, step_input)

    def _forget(self) -> None:
        if self._last is not None:
            self._last.forget()
            self._last = None

    @property
    def _captured(self) -> CapturedGraphs:
        if self._graphs is None:
            idle = self._stepper.idle_graphs
            self._graphs = idle.pop() if idle else CapturedGraphs(self._capture, self._most_bytes)
        return self._graphs

    def rest(self) -> None:
        """See SearchStep. Until then the state of the batch is in the memory of its graphs, and no
        other batch can use them."""
        self._forget()
        idle = self._stepper.idle_graphs
        if self._graphs is not None and len(idle) < MOST_IDLE:
            idle.append(self._graphs)
        self._graphs = None


class CapturedSource:
    """Encodes at most B' sentences of at most S' positions, always in the same memory."""

    def __init__(self, stepper: Stepper, size: tuple[int, int], capture: Capture) -> None:
        assert stepper.padded is not None, "what is not padded cannot be captured"
        device = stepper.padded.device
        pinned = device.type == "cuda"
        B, S = size
        # Each row has tokens and, behind them, its length.
        self._giving = torch.full((B, S + 1), PAD, pin_memory=pinned)
        self._given = torch.ones(B, S + 1, dtype=torch.int64, device=device)
        # The stepper keeps this one; the other way round it would never be freed.
        self._replay = capture(lambda: self._work(stepper))

    @property
    def bytes(self) -> int:
        """Of the memory of its results."""
        return memory_bytes(self._side)

    def _work(self, stepper: Stepper) -> None:
        self._side = stepper.encode(self._given[:, :-1], self._given[:, -1])

    def __call__(self, ids: Tensor, lengths: Tensor) -> Sources:
        """See `Stepper.encode`."""
        B, S = ids.shape
        if self._giving.is_pinned():  # the previous ones may still be on their way
            torch.cuda.current_stream(self._given.device).synchronize()
        self._giving.fill_(PAD)
        self._giving[:, -1] = 1
        self._giving[:B, :S] = ids
        self._giving[:B, -1] = lengths
        self._given.copy_(self._giving, non_blocking=True)
        self._replay()
        memories = {
            name: Memory(*(x[:B, :S].clone() for x in (memory.keys, memory.values, memory.bias)))
            for name, memory in self._side.memories.items()
        }
        return Sources(memories, lengths, S)


class CapturedStep:
    """A step of at most B' sentences of at most S' positions, always in the same memory."""

    def __init__(
        self, stepper: Stepper, like: DecoderState, size: tuple[int, int], capture: Capture
    ) -> None:
        (B, S), K = size, like.beams
        R = B * K
        self._beams = K
        self._sources = SourceBuffers(like.sources, B, S)
        device = self._sources.device
        self._recurrent = StateBuffers(like.recurrent, R)
        self._attended = None if like.attended is None else like.attended.new_zeros(R, S)
        # Four rows: tokens, rows, the bits of log probabilities, and places of banned scores.
        self._given = torch.zeros(4, R, dtype=torch.int64, device=device)
        pinned = device.type == "cuda"
        self._giving = torch.zeros(4, R, dtype=torch.int64, pin_memory=pinned)
        self._every = torch.arange(R)
        self._here: DecoderState | None = None  # whose values the buffers hold
        self._sources_here: Sources | None = None
        self._replay = capture(lambda: self._work(stepper))
        self._taking = torch.zeros(self._keys.shape, dtype=torch.int64, pin_memory=pinned)

    @property
    def bytes(self) -> int:
        """Of the buffers."""
        return self._sources.bytes + self._recurrent.bytes

    def _work(self, stepper: Stepper) -> None:
        """The step, from buffers to buffers."""
        tokens, rows, bits, banned = self._given.unbind()
        attended = None if self._attended is None else self._attended.index_select(0, rows)
        recurrent = self._recurrent.ordered(rows)
        state = DecoderState(self._beams, recurrent, self._sources.sources, attended)
        result = stepper.step(state, tokens)
        running = bits.to(torch.int32).view(torch.float32).view(-1, self._beams)
        logits = result.logits.view(*running.shape, -1)
        self._vocabulary = logits.shape[2]
        self._keys = best_keys(logits, running, banned)
        self._attention = result.attention
        self._recurrent.store(result.state.recurrent)
        if self._attended is not None and result.state.attended is not None:
            self._attended.copy_(result.state.attended)

    def fits(self, step_input: StepInput) -> bool:
        """Whether the buffers have room for all bans."""
        return step_input.banned is None or len(step_input.banned[0]) <= self._given.shape[1]

    def __call__(self, state: DecoderState, step_input: StepInput) -> StepOutcome:
        """See SearchStep."""
        if state is not self._here:
            self._load(state)
        self._here = None  # until the step is done
        B, S = len(state), state.sources.longest
        R = B * self._beams
        self._give(step_input, R)
        self._replay()
        self._taking.copy_(self._keys, non_blocking=True)
        if self._taking.is_pinned():
            torch.cuda.current_stream(self._keys.device).synchronize()
        candidates = candidates_of_keys(self._taking[:B], self._vocabulary)
        attended = None if self._attended is None else self._attended[:R, :S]
        self._here = replace(state, recurrent=self._recurrent.first(R), attended=attended)
        return StepOutcome(candidates, self._attention[:B, :, :S], self._here)

    def forget(self) -> None:
        """Drop the batch whose state the buffers hold."""
        self._here = self._sources_here = None

    def _load(self, state: DecoderState) -> None:
        """Copy a state into the buffers. What is beyond it is finite, and does not matter."""
        S, R = state.sources.longest, len(state) * self._beams
        self._recurrent.store(state.recurrent, R)
        if self._attended is not None and state.attended is not None:
            self._attended[:R].zero_()
            self._attended[:R, :S].copy_(state.attended)
        if state.sources is not self._sources_here:
            self._sources.store(state.sources)
            self._sources_here = state.sources

    def _give(self, step_input: StepInput, rows: int) -> None:
        tokens, continued, bits, banned = self._giving.unbind()
        tokens[:rows] = step_input.tokens.flatten()
        tokens[rows:] = BOS
        continued[:rows] = self._every[:rows] if step_input.rows is None else step_input.rows
        bits[:rows] = step_input.running.flatten().contiguous().view(torch.int32)
        bits[rows:] = 0
        banned.zero_()  # the place of a token that is never written
        if step_input.banned is not None:
            banned_rows, banned_tokens = step_input.banned
            places = banned_rows * self._vocabulary + banned_tokens
            banned[: len(places)] = places
        self._given.copy_(self._giving, non_blocking=True)


def rounded_sentences(sentences: int) -> int:
    """B → B'."""
    if sentences >= SENTENCES:
        return -(-sentences // SENTENCES) * SENTENCES
    return 1 << (sentences - 1).bit_length()


def rounded_positions(positions: int) -> int:
    """S → S'."""
    return -(-positions // POSITIONS) * POSITIONS
