"""Kernels for a GPU, in Triton. They replace PyTorch operations that make many passes over the
largest tensors of a training step, or that take many launches in a decoding step.

B sentences, T target positions, S source positions, A attention units, N tokens, V vocabulary.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from nmt.kernels import jit

POSITIONS = 16  # of a block
UNITS = 64  # likewise
ENERGIES = 512  # of a block, for each source position
TOKENS = 4096  # likewise


def check() -> None:
    """Build the smallest kernel and run it; raises whatever Triton does where it cannot."""
    gates, cells = torch.zeros(1, 32, device="cuda"), torch.zeros(1, 8, device="cuda")
    lstm_cell(gates, cells, None, torch.float32)
    torch.cuda.synchronize()


def _launch(kernel: Any, grid: tuple[int, ...], x: Tensor, *others: object, **how: int) -> None:
    """Triton launches on the current device, wherever the tensors are."""
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        kernel[grid](x, *others, **how)


def smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float, ignored: int
) -> Tensor:
    """Logits (N, V), labels (N,) → the sum of N losses in fp32. Rows with the label `ignored` do
    not count. Forward, the logits are read once; backward, they are read and their gradient is
    written."""
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        logits, labels, smoothing, ignored
    )
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float, ignored: int) -> Tensor:
        rows, V = logits.shape
        logits, labels = logits.contiguous(), labels.contiguous()
        losses, log_sums = torch.zeros(2, rows, dtype=torch.float32, device=logits.device).unbind()
        if rows:
            _launch(
                jit.losses,
                (rows,),
                logits,
                labels,
                losses,
                log_sums,
                V,
                smoothing,
                ignored,
                TOKENS,
                num_warps=8,
            )
        ctx.save_for_backward(logits, labels, log_sums)
        ctx.smoothing, ctx.ignored = smoothing, ignored
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, log_sums = ctx.saved_tensors
        rows, V = logits.shape
        gradient = torch.empty_like(logits)
        if rows:
            grid = (rows, triton.cdiv(V, TOKENS))
            _launch(
                jit.loss_gradient,
                grid,
                logits,
                labels,
                log_sums,
                gradients[0].float(),
                gradient,
                V,
                ctx.smoothing,
                ctx.ignored,
                TOKENS,
                num_warps=8,
            )
        return gradient, None, None, None


def additive_scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Queries (B, T, A), keys (B, S, A), weight (A,) → Σ weight · tanh(query + key), (B, T, S) in
    fp32. The B · T · S · A energies are never stored; the backward pass computes them again.
    Queries and keys beyond ±43 count as that, as in decoding (`nmt.kernels.attention`)."""
    scores: Tensor = _AdditiveScores.apply(queries, keys, weight)  # type: ignore[no-untyped-call]
    return scores


class _AdditiveScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        queries, keys, weight = queries.contiguous(), keys.contiguous(), weight.contiguous()
        B, T, A = queries.shape
        S = keys.shape[1]
        scores = torch.empty(B, T, S, dtype=torch.float32, device=queries.device)
        block = min(POSITIONS, triton.next_power_of_2(T))  # 1 in a greedy search
        grid = (B, triton.cdiv(T, block), triton.cdiv(S, POSITIONS))
        _launch(
            jit.scores,
            grid,
            queries,
            keys,
            weight,
            scores,
            T,
            S,
            A,
            block,
            POSITIONS,
            ENERGIES // block,
        )
        ctx.save_for_backward(queries, keys, weight)
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        B, T, A = queries.shape
        S = keys.shape[1]
        d_queries, d_keys = torch.empty_like(queries), torch.empty_like(keys)
        blocks, units = triton.cdiv(T, POSITIONS), triton.cdiv(A, UNITS)
        d_weight = torch.empty(B * blocks, A, dtype=torch.float32, device=queries.device)
        given = (queries, keys, weight, gradient)
        # What is a sum over source positions, and what is one over target positions.
        _launch(
            jit.backward,
            (B, blocks, units),
            *given,
            d_queries,
            d_weight,
            T,
            S,
            A,
            S,
            1,
            True,
            POSITIONS,
            UNITS,
        )
        _launch(
            jit.backward,
            (B, triton.cdiv(S, POSITIONS), units),
            keys,
            queries,
            weight,
            gradient,
            d_keys,
            d_weight,
            S,
            T,
            A,
            1,
            S,
            False,
            POSITIONS,
            UNITS,
        )
        return d_queries, d_keys, d_weight.sum(0).to(weight.dtype)


def best_keys(
    logits: Tensor,
    running: Tensor,
    banned: Tensor | None,
    first: int,
    block: int,
    count: int,
) -> Tensor:
    """See `nmt.decoding.beam.best_keys`: logits (B, K, V) in fp32, which are written into, running
    (B, K), banned places → keys (B, count). No token below `first` is chosen; the search for the
    best goes block by block."""
    B, K, V = logits.shape
    rows, blocks = B * K, triton.cdiv(V, block)
    log_sums = torch.empty(rows, 2, dtype=torch.float32, device=logits.device)
    _launch(jit.row_log_sums, (rows,), logits, log_sums, V, TOKENS, num_warps=8)
    if banned is not None:
        logits.view(-1).index_fill_(0, banned, float("-inf"))
    smallest = torch.empty(B, K * blocks, dtype=torch.int64, device=logits.device)
    given = (logits, log_sums, running.contiguous())
    _launch(
        jit.smallest_of_blocks,
        (rows, triton.cdiv(V, TOKENS)),
        *given,
        smallest,
        V,
        blocks,
        K,
        first,
        block,
        TOKENS,
    )
    if count == 1:
        return smallest.amin(1, keepdim=True)
    chosen = smallest.topk(min(count, K * blocks), dim=1, largest=False).indices
    chosen_blocks = chosen.shape[1]
    keys = torch.empty(B, chosen_blocks * block, dtype=torch.int64, device=logits.device)
    _launch(
        jit.keys_of_blocks,
        (B, chosen_blocks),
        *given,
        chosen,
        keys,
        V,
        blocks,
        K,
        chosen_blocks,
        first,
        block,
        num_warps=1,
    )
    return keys.topk(count, dim=1, largest=False).values


def lstm_cell(
    gates: Tensor, cells: Tensor, bound: float | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """See `nmt.kernels.lstm.lstm_cell`: gates (R, 4H) with the cell's rows doubled, c (R, H) in
    fp32 → the next h in fp32 and in `dtype`, and the next c."""
    rows, H = cells.shape
    hidden, next_cells = torch.empty_like(cells), torch.empty_like(cells)
    codes = hidden if dtype == torch.float32 else torch.empty_like(cells, dtype=dtype)
    units = min(256, triton.next_power_of_2(H))
    _launch(
        jit.lstm_cell,
        (rows, triton.cdiv(H, units)),
        gates.contiguous(),
        cells.contiguous(),
        hidden,
        codes,
        next_cells,
        bound or 0.0,
        H,
        bound is not None,
        units,
    )
    return hidden, codes, next_cells
