"""Rules as C: one pass over the numbers of a parameter, compiled for the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nmt.rules.expression import Call, Expression, Mean, Number, Variable, means, parts

# Smaller parameters are not worth waking other threads for.
SMALLEST = 32_768

FORMS: Mapping[str, str] = {
    "negative": "-{0}",
    "sign": "(float)(({0} > 0.0f) - ({0} < 0.0f))",
    "abs": "fabsf({0})",
    "exp": "rule_exp({0})",
    "log": "rule_log(fabsf({0}))",
    "sqrt": "sqrtf(fabsf({0}))",
    "square": "{0} * {0}",
    "cos": "cosf({0})",
    # As in PyTorch and NumPy, what is not a number stays that.
    "clip": "({0} > {1} ? {1} : {0} < -{1} ? -{1} : {0})",
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
    "/": "{0} / {1}",
    "**": "powf({0}, {1})",
}
POWERS = {3.0: "{0} * {0} * {0}", -1.0: "1.0f / {0}", 0.5: "sqrtf({0})"}  # `powf` is slow
# The library's own functions are called for one number at a time. These are Cephes' polynomials
# (S. L. Moshier), within two units in the last place.
HEAD = """#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float of_bits(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t bits_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float rule_exp(float x) {
    float c = x > 89.0f ? 89.0f : x;
    c = c > -104.0f ? c : -104.0f;
    const float n = rintf(c * 1.44269504f);
    const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t k = (int32_t)n, half = k / 2; /* 2^k may be too large or too small by itself */
    const float y = p * of_bits((half + 127) << 23) * of_bits((k - half + 127) << 23);
    return x == x ? y : x;
}

static inline float rule_log(float a) { /* a >= 0 */
    const int32_t tiny = a < 1.17549435e-38f;
    const int32_t bits = bits_of(tiny ? a * 8388608.0f : a);
    float m = of_bits((bits & 0x007fffff) | 0x3f000000); /* 0.5 to 1 */
    const int32_t small = m < 0.70710678f;
    const float e = (float)((bits >> 23) - 126 - small - (tiny ? 23 : 0));
    m = (small ? m + m : m) - 1.0f;
    const float z = m * m;
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

"""
TEMPLATE = """
/* {rule} */
void nmt_rule(long n, float *restrict weights, const float *restrict gradients,
              float *const *restrict states, const float *restrict corrections, float rate,
              float keep, float done, int threads)
{{
{before}
#pragma omp parallel for simd schedule(static) num_threads(threads) if (n >= {smallest})
    for (long i = 0; i < n; i++) {{
        const float g = gradients[i], w = weights[i];
{inside}
        weights[i] = keep * w - rate * {result};
    }}
}}
"""


def is_scalar(expression: Expression) -> bool:
    """Whether a part has one value for all numbers of a parameter."""
    return not any(
        isinstance(one, Mean) or (isinstance(one, Variable) and one.name in ("g", "w"))
        for one in parts(expression)
    )


def c_code(rule: Expression) -> str:
    """A function `nmt_rule` that makes a step of one parameter: the n weights and gradients, a
    state for each of `means(rule)` and the correction of its bias, the learning rate, what is kept
    of the weight under decay, and the fraction of the run that is done."""
    kept = [(one.value, one.decay) for one in means(rule)]
    names: dict[Expression, str] = {}
    before: list[str] = []
    inside: list[str] = []
    for number in range(len(kept)):
        before.append(f"    float *const restrict mean{number} = states[{number}];")
    fresh: set[int] = set()
    for place, one in enumerate(parts(rule)):
        match one:
            case Number(value=value):
                names[one] = _literal(value)
            case Variable(name=name):
                names[one] = name
            case Mean(value=value, decay=decay, corrected=corrected):
                number = kept.index((value, decay))
                if number not in fresh:
                    fresh.add(number)
                    at = f"mean{number}[i]"
                    inside.append(
                        f"        const float e{number} = {at} + {_literal(1 - decay)} * "
                        f"({names[value]} - {at});"
                    )
                    inside.append(f"        {at} = e{number};")
                names[one] = f"(e{number} * corrections[{number}])" if corrected else f"e{number}"
            case Call(name=name, arguments=arguments):
                names[one] = f"t{place}"
                form = FORMS[name]
                if name == "**" and isinstance(arguments[1], Number):
                    form = POWERS.get(arguments[1].value, form)
                value_ = form.format(*(f"({names[x]})" for x in arguments))
                line = f"const float t{place} = {value_};"
                where, indent = (before, 4) if is_scalar(one) else (inside, 8)
                where.append(" " * indent + line)
    return HEAD + TEMPLATE.format(
        rule=_comment(str(rule)),
        before="\n".join(before),
        inside="\n".join(inside),
        result=names[rule],
        smallest=SMALLEST,
    )


def _literal(value: float) -> str:
    text = repr(float(value))
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def _comment(text: str) -> str:
    return text.replace("*/", "* /")


def names_of_states(rule: Expression) -> Sequence[str]:
    """The names of the running means in checkpoints."""
    return [f"mean_{number}" for number in range(len(means(rule)))]
