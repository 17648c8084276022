"""Room for what a captured step reads and writes: the same memory at every step.

B sentences, K hypotheses of each, R = B * K rows, S source positions; all of them at most so many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nmt.decoding.beam import NEVER
from nmt.model.layer import State
from nmt.runtime.state import Memory, Sources


class StateBuffers:
    """The recurrent states of all layers. Tensors of one shape and type stand side by side, so that
    all of their rows are put into order at once."""

    def __init__(self, like: Mapping[str, State], rows: int) -> None:
        groups: dict[tuple[torch.Size, torch.dtype], list[tuple[str, int]]] = {}
        for name, state in like.items():
            for i, x in enumerate(state):
                groups.setdefault((x.shape[1:], x.dtype), []).append((name, i))
        self._members = list(groups.values())
        self._stacks = [
            like[members[0][0]][members[0][1]].new_zeros(len(members), rows, *shape)
            for (shape, _), members in groups.items()
        ]
        stands_at = {
            member: (stack, place)
            for stack, members in enumerate(self._members)
            for place, member in enumerate(members)
        }
        self._places = {
            name: [stands_at[name, i] for i in range(len(state))] for name, state in like.items()
        }

    @property
    def bytes(self) -> int:
        """Of the buffers."""
        return sum(stack.nbytes for stack in self._stacks)

    def first(self, rows: int) -> dict[str, State]:
        """Views of the first rows."""
        return self._by_layer([stack[:, :rows] for stack in self._stacks])

    def ordered(self, rows: Tensor) -> dict[str, State]:
        """The rows of those numbers (R,)."""
        return self._by_layer([stack.index_select(1, rows) for stack in self._stacks])

    def store(self, states: Mapping[str, State], rows: int | None = None) -> None:
        """Copy states into the first rows, all of them if `rows` is None."""
        for stack, members in zip(self._stacks, self._members, strict=True):
            torch._foreach_copy_(stack[:, :rows].unbind(), [states[name][i] for name, i in members])

    def _by_layer(self, stacks: Sequence[Tensor]) -> dict[str, State]:
        parts = [stack.unbind() for stack in stacks]
        return {
            name: tuple(parts[stack][place] for stack, place in places)
            for name, places in self._places.items()
        }


class SourceBuffers:
    """The memories of all attention layers."""

    def __init__(self, like: Sources, sentences: int, positions: int) -> None:
        def room(x: Tensor) -> Tensor:
            return x.new_zeros(sentences, positions, *x.shape[2:])

        memories = {
            name: Memory(room(memory.keys), room(memory.values), room(memory.bias))
            for name, memory in like.memories.items()
        }
        self.sources = Sources(memories, torch.full((sentences,), positions), positions)
        (self.device,) = {memory.bias.device for memory in memories.values()}

    @property
    def bytes(self) -> int:
        """Of the buffers."""
        return memory_bytes(self.sources)

    def store(self, sources: Sources) -> None:
        """Copy a source side in. What is beyond it is finite, and does not matter."""
        B, S = len(sources), sources.longest
        for name, memory in sources.memories.items():
            buffer = self.sources.memories[name]
            buffer.keys[:B, :S].copy_(memory.keys)
            buffer.values[:B, :S].copy_(memory.values)
            buffer.bias[:B].fill_(NEVER)
            buffer.bias[:B, :S].copy_(memory.bias)


def memory_bytes(sources: Sources) -> int:
    """What the memories of attention layers take."""
    return sum(x.nbytes for m in sources.memories.values() for x in (m.keys, m.values, m.bias))
