/* Products of a few rows with a weight matrix, which is read once and in order.

A matrix (N, K) is stored in blocks of BLOCK outputs: for each group of inputs, the weights of all
outputs of the block side by side. A group is one input in fp32, a pair in bf16, and four in int8:
what one lane of a register takes. So nothing is summed across lanes. */

#ifndef NMT_PRODUCTS_H
#define NMT_PRODUCTS_H

#include "numbers.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 5 /* whose sums stay in registers, four to a row */
#else
#define LANES 8
#define ROWS 2
#endif
#define VECTORS 4
#define BLOCK (VECTORS * LANES)
#define PAYS (1 << 20) /* bytes of weights that several threads read faster than one */

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

typedef struct {
    int64_t format, inputs, outputs;
    void *weights;       /* packed */
    const float *scales; /* (N,) of int8, else NULL */
    const float *bias;   /* (N,), or NULL */
    int32_t *offsets;    /* (N,) of int8: what the code of 0 adds to the sums */
} Matrix;

static const int64_t GROUP[] = {1, 2, 4};

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

int64_t nmt_packed_bytes(int64_t format, int64_t outputs, int64_t inputs)
{
    int64_t groups = blocks_of(inputs, GROUP[format]);
    return blocks_of(outputs, BLOCK) * BLOCK * groups * GROUP[format] * CODE_BYTES[format];
}

/* Row-major weights (N, K) of the matrix' format → `matrix->weights` and `matrix->offsets`. */
void nmt_pack(const Matrix *matrix, const void *rows)
{
    int64_t N = matrix->outputs, K = matrix->inputs, group = GROUP[matrix->format];
    int64_t groups = blocks_of(K, group), size = CODE_BYTES[matrix->format];
    char *packed = matrix->weights;
    memset(packed, 0, nmt_packed_bytes(matrix->format, N, K));
    for (int64_t n = 0; n < N; n++) {
        const char *row = (const char *)rows + n * K * size;
        char *block = packed + (n / BLOCK * groups * BLOCK + n % BLOCK) * group * size;
        for (int64_t g = 0; g < groups; g++) {
            int64_t first = g * group, count = K - first < group ? K - first : group;
            memcpy(block + g * BLOCK * group * size, row + first * size, count * size);
        }
        if (matrix->format == INT8) {
            int32_t sum = 0;
            for (int64_t k = 0; k < K; k++) sum += ((const int8_t *)row)[k];
            matrix->offsets[n] = ZERO * sum;
        }
    }
}

INLINE Floats floats(float x) { return x - (Floats){0}; }

/* What follows is for R rows of codes, `stride` bytes apart; R is a constant where it is inlined.
The sums are variables of their own, whose loops are unrolled: so they stay in registers. */

#define EACH_ROW _Pragma("GCC unroll 8") for (int r = 0; r < R; r++)
#define EACH_VECTOR _Pragma("GCC unroll 8") for (int j = 0; j < VECTORS; j++)

INLINE void sum_fp32(const float *w, const char *x, int64_t stride, int64_t groups, int R,
                     Floats *sums)
{
    Floats sum[ROWS][VECTORS], v[VECTORS];
    EACH_ROW EACH_VECTOR sum[r][j] = floats(0);
    for (int64_t k = 0; k < groups; k++, w += BLOCK) {
        EACH_VECTOR memcpy(&v[j], w + j * LANES, sizeof v[j]);
        EACH_ROW {
            Floats value = floats(((const float *)(x + r * stride))[k]);
            EACH_VECTOR sum[r][j] += value * v[j];
        }
    }
    EACH_ROW EACH_VECTOR sums[r * VECTORS + j] = sum[r][j];
}

INLINE Floats dot2(Floats sum, uint32_t x, Integers w)
{
#if defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int32_t)x),
                                    (__m512bh)w);
#else
    sum += floats(as_float(x << 16)) * (Floats)(w << 16);
    return sum + floats(as_float(x & 0xffff0000u)) * (Floats)(w & (int32_t)0xffff0000u);
#endif
}

INLINE Integers dot4(Integers sum, uint32_t x, Integers w)
{
#if defined(__AVX512VNNI__)
    return (Integers)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32((int32_t)x), (__m512i)w);
#elif defined(__AVXVNNI__)
    return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_set1_epi32((int32_t)x),
                                             (__m256i)w);
#else
    for (int byte = 0; byte < 4; byte++) {
        Integers weight = w << (24 - 8 * byte) >> 24; /* sign-extended */
        sum += (int32_t)(x >> (8 * byte) & 255) * weight;
    }
    return sum;
#endif
}

INLINE void sum_bf16(const char *w, const char *x, int64_t stride, int64_t groups, int R,
                     Floats *sums)
{
    Floats sum[ROWS][VECTORS];
    Integers v[VECTORS];
    EACH_ROW EACH_VECTOR sum[r][j] = floats(0);
    for (int64_t k = 0; k < groups; k++, w += 4 * BLOCK) {
        EACH_VECTOR memcpy(&v[j], w + 4 * j * LANES, sizeof v[j]);
        EACH_ROW {
            uint32_t pair;
            memcpy(&pair, x + r * stride + 4 * k, 4);
            EACH_VECTOR sum[r][j] = dot2(sum[r][j], pair, v[j]);
        }
    }
    EACH_ROW EACH_VECTOR sums[r * VECTORS + j] = sum[r][j];
}

INLINE void sum_int8(const char *w, const char *x, int64_t stride, int64_t groups, int R,
                     Integers *sums)
{
    Integers sum[ROWS][VECTORS], v[VECTORS];
    EACH_ROW EACH_VECTOR sum[r][j] = (Integers){0};
    for (int64_t k = 0; k < groups; k++, w += 4 * BLOCK) {
        EACH_VECTOR memcpy(&v[j], w + 4 * j * LANES, sizeof v[j]);
        EACH_ROW {
            uint32_t four;
            memcpy(&four, x + r * stride + 4 * k, 4);
            EACH_VECTOR sum[r][j] = dot4(sum[r][j], four, v[j]);
        }
    }
    EACH_ROW EACH_VECTOR sums[r * VECTORS + j] = sum[r][j];
}

/* Sums of a block, the outputs from `first` on → results. */
INLINE void finish_int8(const Matrix *m, const int32_t *sums, int64_t first, int64_t count, int R,
                        float *out)
{
    const float *scales = m->scales + first, *bias = m->bias ? m->bias + first : NULL;
    const int32_t *offsets = m->offsets + first;
    for (int r = 0; r < R; r++, sums += BLOCK) {
        float *to = out + r * m->outputs + first;
        if (bias)
            for (int64_t i = 0; i < count; i++)
                to[i] = (float)(sums[i] - offsets[i]) * scales[i] + bias[i];
        else
            for (int64_t i = 0; i < count; i++) to[i] = (float)(sums[i] - offsets[i]) * scales[i];
    }
}

INLINE void finish_floats(const Matrix *m, const float *sums, int64_t first, int64_t count, int R,
                          float *out)
{
    const float *bias = m->bias ? m->bias + first : NULL;
    for (int r = 0; r < R; r++, sums += BLOCK) {
        float *to = out + r * m->outputs + first;
        if (bias)
            for (int64_t i = 0; i < count; i++) to[i] = sums[i] + bias[i];
        else
            memcpy(to, sums, 4 * count);
        if (m->format == BF16) /* as oneDNN's results */
            for (int64_t i = 0; i < count; i++) to[i] = rounded_to_bf16(to[i]);
    }
}

/* A block of outputs for R rows, R a constant. */
INLINE void block_product(const Matrix *m, int64_t block, const char *x, int64_t stride, int R,
                          float *out)
{
    int64_t groups = blocks_of(m->inputs, GROUP[m->format]), first = block * BLOCK;
    int64_t count = m->outputs - first < BLOCK ? m->outputs - first : BLOCK;
    const char *w = (const char *)m->weights
                    + block * BLOCK * groups * GROUP[m->format] * CODE_BYTES[m->format];
    if (m->format == INT8) {
        int32_t sums[ROWS * BLOCK] __attribute__((aligned(64)));
        sum_int8(w, x, stride, groups, R, (Integers *)sums);
        if (count == BLOCK) finish_int8(m, sums, first, BLOCK, R, out);
        else finish_int8(m, sums, first, count, R, out);
        return;
    }
    float sums[ROWS * BLOCK] __attribute__((aligned(64)));
    if (m->format == FP32) sum_fp32((const float *)w, x, stride, groups, R, (Floats *)sums);
    else sum_bf16(w, x, stride, groups, R, (Floats *)sums);
    if (count == BLOCK) finish_floats(m, sums, first, BLOCK, R, out);
    else finish_floats(m, sums, first, count, R, out);
}

/* Blocks of outputs of codes (R, K), `stride` bytes apart and zeros up to a whole group. */
static void blocks_product(const Matrix *m, int64_t first, int64_t end, const void *codes,
                           int64_t stride, int64_t rows, float *out)
{
    for (int64_t block = first; block < end; block++) {
        const char *x = codes;
        float *to = out;
        int64_t left = rows;
        for (; left >= ROWS; left -= ROWS, x += ROWS * stride, to += ROWS * m->outputs)
            block_product(m, block, x, stride, ROWS, to);
        switch (left) {
        case 1: block_product(m, block, x, stride, 1, to); break;
#if ROWS > 2
        case 2: block_product(m, block, x, stride, 2, to); break;
        case 3: block_product(m, block, x, stride, 3, to); break;
        case 4: block_product(m, block, x, stride, 4, to); break;
#endif
        }
    }
}

/* → (R, N) in fp32. */
static void product(const Matrix *m, const void *codes, int64_t stride, int64_t rows, float *out)
{
    blocks_product(m, 0, blocks_of(m->outputs, BLOCK), codes, stride, rows, out);
}

/* The same by several threads, where the weights are so many that it pays. */
static void product_by(int64_t threads, const Matrix *m, const void *codes, int64_t stride,
                       int64_t rows, float *out)
{
    int64_t blocks = blocks_of(m->outputs, BLOCK);
    int64_t bytes = nmt_packed_bytes(m->format, m->outputs, m->inputs);
    if (threads == 1 || bytes < PAYS || blocks < threads) {
        product(m, codes, stride, rows, out);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < threads; part++)
        blocks_product(m, blocks * part / threads, blocks * (part + 1) / threads, codes, stride,
                       rows, out);
}

/* Bytes between rows of K codes, zeros included. */
INLINE int64_t stride_of(const Matrix *m)
{
    return blocks_of(m->inputs * CODE_BYTES[m->format], 64) * 64;
}

#endif
