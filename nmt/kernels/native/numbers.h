/* Number formats and elementary functions, as nmt/precision/formats.py defines them.

Values are fp32 while they are computed; codes are what layers hand each other and what products
read: fp32 itself, bf16, or unsigned bytes whose code ZERO is 0. Loops are written so that
compilers vectorise them, and pointers do not overlap, so that there is one version of each: a
number does not depend on what else is in the batch. */

#ifndef NMT_NUMBERS_H
#define NMT_NUMBERS_H

#include "elementary.h"

enum { FP32, BF16, INT8 };

#define ZERO 128     /* the code of 0 in int8 */
#define LARGEST 127  /* codes are within ZERO ± LARGEST */

static const int64_t CODE_BYTES[] = {4, 2, 1};

/* Round to nearest, ties to even. NaN stays NaN: its quiet bit survives. */
INLINE uint16_t to_bf16(float x)
{
    uint32_t bits = as_bits(x);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)(x == x ? rounded : 0x7fc0);
}

INLINE float from_bf16(uint16_t code) { return as_float((uint32_t)code << 16); }

INLINE float rounded_to_bf16(float x) { return from_bf16(to_bf16(x)); }

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

/* The maximum of n numbers; the inner loop is one instruction. */
static float largest_of(const float *x, int64_t n)
{
    float lanes[16], largest = -INFINITY;
    int64_t whole = n / 16 * 16;
    for (int j = 0; j < 16; j++) lanes[j] = -INFINITY;
    for (int64_t i = 0; i < whole; i += 16)
        for (int j = 0; j < 16; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (int64_t i = whole; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (int j = 0; j < 16; j++) largest = lanes[j] > largest ? lanes[j] : largest;
    return largest;
}

/* n values within ±bound → codes. */
static void encode(int64_t format, const float *restrict x, float bound, void *restrict codes,
                   int64_t n)
{
    if (format == FP32) {
        memcpy(codes, x, 4 * n);
    } else if (format == BF16) {
        uint16_t *restrict out = codes;
        for (int64_t i = 0; i < n; i++) out[i] = to_bf16(x[i]);
    } else {
        uint8_t *restrict out = codes;
        float scale = LARGEST / bound;
        /* The half makes truncation round to nearest. */
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(int32_t)(ZERO + 0.5f + x[i] * scale);
    }
}

/* n codes → values, added to what is in x, or in place of it. */
static void decode(int64_t format, const void *restrict codes, float bound, float *restrict x,
                   int64_t n, int add)
{
    if (!add) memset(x, 0, 4 * n);
    if (format == FP32) {
        const float *in = codes;
        for (int64_t i = 0; i < n; i++) x[i] += in[i];
    } else if (format == BF16) {
        /* Sums of bf16 tensors are rounded to bf16. */
        const uint16_t *restrict in = codes;
        for (int64_t i = 0; i < n; i++) x[i] = rounded_to_bf16(x[i] + from_bf16(in[i]));
    } else {
        const uint8_t *restrict in = codes;
        float unit = bound / LARGEST;
        for (int64_t i = 0; i < n; i++) x[i] += -ZERO * unit + in[i] * unit;
    }
}

#endif
