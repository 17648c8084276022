"""The GPU side of `nmt.kernels.gpu`, whose functions document what is computed.

Triton compiles these functions; they are not run as Python. Arguments are addresses of tensors,
their sizes, and sizes of blocks; each program computes one block.
"""

import triton
import triton.language as tl

# exp(2 * 43) and its inverse are normal numbers of fp32.
LARGEST_ENERGY = tl.constexpr(43.0)
NO_KEY = tl.constexpr(2**63 - 1)


@triton.jit
def exponential(x):
    x = tl.minimum(tl.maximum(x.to(tl.float32), -LARGEST_ENERGY), LARGEST_ENERGY)
    return tl.exp(2 * x)


@triton.jit(do_not_specialize=["T", "S"])
def scores(
    queries,
    keys,
    weight,
    scores,
    T,
    S,
    A,
    targets: tl.constexpr,
    positions: tl.constexpr,
    units: tl.constexpr,
):
    sentence = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * targets + tl.arange(0, targets)
    s = tl.program_id(2) * positions + tl.arange(0, positions)
    there_t, there_s = (t < T)[:, None], (s < S)[:, None]
    total = tl.zeros((targets, positions), tl.float32)
    for first in range(0, A, units):
        a = first + tl.arange(0, units)
        there = (a < A)[None, :]
        q = tl.load(queries + (sentence * T + t[:, None]) * A + a[None, :], there_t & there, 0.0)
        k = tl.load(keys + (sentence * S + s[:, None]) * A + a[None, :], there_s & there, 0.0)
        v = tl.load(weight + a, a < A, 0.0).to(tl.float32)
        # tanh(q + k) = 1 - 2 / (1 + exp(2 q) exp(2 k))
        inverse = 1.0 / (1.0 + exponential(q)[:, None, :] * exponential(k)[None, :, :])
        total += tl.sum(v[None, None, :] * (1.0 - 2.0 * inverse), 2)
    places = (sentence * T + t[:, None]) * S + s[None, :]
    tl.store(scores + places, total, there_t & (s < S)[None, :])


@triton.jit(do_not_specialize=["count", "others_count", "stride_mine", "stride_others"])
def backward(
    mine,
    others,
    weight,
    gradient,
    d_mine,
    d_weight,
    count,
    others_count,
    A,
    stride_mine,
    stride_others,
    with_weight: tl.constexpr,
    positions: tl.constexpr,
    units: tl.constexpr,
):
    # Of queries (mine) summed over keys (others), or the other way round.
    sentence = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * positions + tl.arange(0, positions)
    a = tl.program_id(2) * units + tl.arange(0, units)
    there = (m < count)[:, None] & (a < A)[None, :]
    places = (sentence * count + m[:, None]) * A + a[None, :]
    x = exponential(tl.load(mine + places, there, 0.0))
    v = tl.load(weight + a, a < A, 0.0).to(tl.float32)
    total = tl.zeros((positions, units), tl.float32)
    of_weight = tl.zeros((positions, units), tl.float32)
    for o in range(0, others_count):
        y = exponential(tl.load(others + (sentence * others_count + o) * A + a, a < A, 0.0))
        of_scores = gradient + sentence * count * others_count + m * stride_mine + o * stride_others
        g = tl.load(of_scores, m < count, 0.0).to(tl.float32)[:, None]
        inverse = 1.0 / (1.0 + x * y[None, :])
        total += g * inverse * (1.0 - inverse)
        if with_weight:
            of_weight += g * (1.0 - 2.0 * inverse)
    tl.store(d_mine + places, 4.0 * total * v[None, :], there)
    if with_weight:
        block = sentence * tl.num_programs(1) + tl.program_id(1)
        tl.store(d_weight + block * A + a, tl.sum(of_weight, 0), a < A)


@triton.jit
def log_sum(logits, V, tokens: tl.constexpr):
    # Of a row's exponentials, in two parts that are exact; and the sum of the row.
    largest, sum_of_exp, total = float("-inf"), 0.0, 0.0
    for first in range(0, V, tokens):
        v = first + tl.arange(0, tokens)
        x = tl.load(logits + v, v < V, float("-inf")).to(tl.float32)
        before, largest = largest, tl.maximum(largest, tl.max(x, 0))
        sum_of_exp = sum_of_exp * tl.exp(before - largest) + tl.sum(tl.exp(x - largest), 0)
        total += tl.sum(tl.where(v < V, x, 0.0), 0)
    return largest, tl.log(sum_of_exp), total


@triton.jit
def losses(logits, labels, losses, log_sums, V, smoothing, pad, tokens: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    if label != pad:
        largest, log, total = log_sum(logits + row * V, V, tokens)
        of_all = largest + log
        of_label = tl.load(logits + row * V + label).to(tl.float32)
        tl.store(losses + row, of_all - (1.0 - smoothing) * of_label - smoothing / V * total)
        tl.store(log_sums + row, of_all)


@triton.jit
def loss_gradient(
    logits, labels, log_sums, factor, gradient, V, smoothing, pad, tokens: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    v = tl.program_id(1) * tokens + tl.arange(0, tokens)
    label = tl.load(labels + row)
    if label == pad:
        tl.store(gradient + row * V + v, tl.zeros((tokens,), tl.float32), v < V)
    else:
        x = tl.load(logits + row * V + v, v < V, 0.0).to(tl.float32)
        found = tl.exp(x - tl.load(log_sums + row)) - smoothing / V
        found -= tl.where(v == label, 1.0 - smoothing, 0.0)
        tl.store(gradient + row * V + v, found * tl.load(factor), v < V)


@triton.jit
def row_log_sums(logits, log_sums, V, tokens: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    largest, log, _ = log_sum(logits + row * V, V, tokens)
    tl.store(log_sums + 2 * row, largest)
    tl.store(log_sums + 2 * row + 1, log)


@triton.jit
def keys_of(logits, log_sums, running, row, place_of_row, v, V, first):
    # Numbers from 0 on are in the order of their bits; 0 - x is never -0.
    there = (v >= first) & (v < V)
    x = tl.load(logits + row * V + v, there, float("-inf"))
    score = (tl.load(log_sums + 2 * row) - x) + tl.load(log_sums + 2 * row + 1)
    score = (0.0 - tl.load(running + row)) + score
    bits = tl.where(there, score, float("inf")).to(tl.int32, bitcast=True)
    keys = (bits.to(tl.int64) << 32) + (place_of_row + v).to(tl.int64)
    return tl.where(v < V, keys, NO_KEY)


@triton.jit
def smallest_of_blocks(
    logits,
    log_sums,
    running,
    smallest,
    V,
    blocks,
    K,
    first,
    block: tl.constexpr,
    tokens: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    v = tl.program_id(1) * tokens + tl.arange(0, tokens)
    keys = keys_of(logits, log_sums, running, row, row % K * V, v, V, first)
    found = tl.min(tl.reshape(keys, (tokens // block, block)), 1)
    i = tl.program_id(1) * (tokens // block) + tl.arange(0, tokens // block)
    tl.store(smallest + row * blocks + i, found, i < blocks)


@triton.jit
def keys_of_blocks(
    logits, log_sums, running, chosen, keys, V, blocks, K, count, first, block: tl.constexpr
):
    sentence, i = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place = tl.load(chosen + sentence * count + i)
    beam, v = place // blocks, place % blocks * block + tl.arange(0, block)
    found = keys_of(logits, log_sums, running, sentence * K + beam, beam * V, v, V, first)
    tl.store(keys + (sentence * count + i) * block + tl.arange(0, block), found)


@triton.jit
def lstm_cell(
    gates, cells, hidden, codes, next_cells, bound, H, bounded: tl.constexpr, units: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    u = tl.program_id(1) * units + tl.arange(0, units)
    there = u < H
    of_row = gates + row * 4 * H + u
    input_gate = tl.sigmoid(tl.load(of_row, there, 0.0).to(tl.float32))
    forget_gate = tl.sigmoid(tl.load(of_row + H, there, 0.0).to(tl.float32))
    cell = 2.0 * tl.sigmoid(tl.load(of_row + 2 * H, there, 0.0).to(tl.float32)) - 1.0
    output_gate = tl.sigmoid(tl.load(of_row + 3 * H, there, 0.0).to(tl.float32))
    c = forget_gate * tl.load(cells + row * H + u, there, 0.0) + input_gate * cell
    if bounded:
        c = tl.minimum(tl.maximum(c, -bound), bound)
    h = output_gate * (2.0 * tl.sigmoid(2.0 * c) - 1.0)
    tl.store(next_cells + row * H + u, c, there)
    tl.store(hidden + row * H + u, h, there)
    tl.store(codes + row * H + u, h, there)
