/* Elementary functions that compilers vectorise, which the C library's are not: they are called for
one number at a time. The polynomials are those of Cephes (S. L. Moshier). */

#ifndef NMT_ELEMENTARY_H
#define NMT_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

INLINE uint32_t as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* exp x within 2 units in the last place; 0 or inf outside the range of normal fp32 numbers. */
INLINE float exponential(float x)
{
    float inside = x < -87.3f ? -87.3f : x > 89.0f ? 89.0f : x;
    float n = rintf(inside * 1.44269504088896341f);
    float r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    /* 2^n in two factors, since 2^128 is not a number of fp32. */
    int32_t half = (int32_t)n >> 1, rest = (int32_t)n - half;
    p = p * as_float((uint32_t)(half + 127) << 23) * as_float((uint32_t)(rest + 127) << 23);
    return x < -87.3f ? 0.0f : p;
}

/* log a of a >= 0 within 2 units in the last place. */
INLINE float logarithm(float a)
{
    int32_t tiny = a < 1.17549435e-38f;
    int32_t bits = (int32_t)as_bits(tiny ? a * 8388608.0f : a);
    float m = as_float(((uint32_t)bits & 0x007fffff) | 0x3f000000); /* 0.5 to 1 */
    int32_t small = m < 0.70710678f;
    float e = (float)((bits >> 23) - 126 - small - (tiny ? 23 : 0));
    m = (small ? m + m : m) - 1.0f;
    float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = m * z * p - e * 2.12194440e-4f - 0.5f * z;
    y = m + y + e * 0.693359375f;
    y = a > 0.0f ? y : -INFINITY;
    return a < INFINITY ? y : a; /* also where it is not a number */
}

#endif
