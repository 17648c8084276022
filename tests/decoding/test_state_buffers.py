"""Buffers of captured steps."""

import torch
from torch import Tensor

from nmt.decoding.beam import NEVER
from nmt.decoding.state_buffers import SourceBuffers, StateBuffers, memory_bytes
from nmt.model.layer import State
from nmt.runtime.state import Memory, Sources

R, ROOM = 3, 5


def states(dtype: torch.dtype = torch.float32) -> dict[str, State]:
    """Layers with two tensors, with one, and with one of another width."""
    torch.manual_seed(0)
    return {
        "a": (torch.randn(R, 4).to(dtype), torch.randn(R, 4)),
        "b": (torch.randn(R, 4),),
        "c": (torch.randn(R, 6),),
        "d": (torch.randn(R, 4).to(dtype), torch.randn(R, 4)),
    }


def assert_equal(found: dict[str, State], wanted: dict[str, State]) -> None:
    assert list(found) == list(wanted)
    for name, state in wanted.items():
        assert len(found[name]) == len(state)
        assert all(torch.equal(x, y) for x, y in zip(found[name], state, strict=True)), name


def test_states_come_back_in_any_order() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        given = states(dtype)
        buffers = StateBuffers(given, ROOM)
        buffers.store(given, R)
        assert_equal(buffers.first(R), given)
        order = torch.tensor([2, 2, 0, 1, 4])
        ordered = buffers.ordered(order)
        for name, state in given.items():
            for x, y in zip(ordered[name], state, strict=True):
                assert torch.equal(x[:4], y[order[:4]])
                assert not x[4].any()
        buffers.store(ordered)
        assert_equal(buffers.first(ROOM), ordered)


def test_tensors_of_one_kind_stand_side_by_side() -> None:
    def shapes(buffers: StateBuffers) -> list[tuple[int, ...]]:
        return [tuple(stack.shape) for stack in buffers._stacks]

    assert shapes(StateBuffers(states(), ROOM)) == [(5, ROOM, 4), (1, ROOM, 6)]
    assert shapes(StateBuffers(states(torch.bfloat16), ROOM)) == [
        (2, ROOM, 4),
        (3, ROOM, 4),
        (1, ROOM, 6),
    ]
    assert StateBuffers(states(), ROOM).bytes == ROOM * 4 * (5 * 4 + 6)


def test_sources_of_several_attentions() -> None:
    def memory(A: int) -> Memory:
        bias = torch.tensor([[0.0, 0, 0], [0, float("-inf"), float("-inf")]])
        return Memory(torch.randn(2, 3, A), torch.randn(2, 3, 2), bias)

    given = Sources({"x": memory(4), "y": memory(5)}, torch.tensor([3, 1]), 3)
    buffers = SourceBuffers(given, 4, 8)
    buffers.store(given)
    assert (len(buffers.sources), buffers.sources.longest) == (4, 8)
    assert buffers.bytes == memory_bytes(buffers.sources) == 4 * 8 * 4 * (4 + 5 + 2 * 2 + 2)

    def part(x: Tensor) -> Tensor:
        return x[:2, :3]

    for name, wanted in given.memories.items():
        found = buffers.sources.memories[name]
        assert torch.equal(part(found.keys), wanted.keys)
        assert torch.equal(part(found.values), wanted.values)
        assert torch.equal(part(found.bias), wanted.bias)
        assert (found.bias[:2, 3:] == NEVER).all()
        assert not found.bias[2:].any(), "sentences that are not there must not give NaN"
