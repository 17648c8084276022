"""Rules as C: one pass over the numbers of a parameter, compiled for the processor. It includes
`elementary.h` of the compiled kernels, for functions that can be vectorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nmt.rules.expression import Call, Expression, Mean, Number, Variable, means, parts

# Smaller parameters are not worth waking other threads for.
SMALLEST = 32_768

FORMS: Mapping[str, str] = {
    "negative": "-{0}",
    "sign": "(float)(({0} > 0.0f) - ({0} < 0.0f))",
    "abs": "fabsf({0})",
    "exp": "exponential({0})",
    "log": "logarithm(fabsf({0}))",
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
TEMPLATE = """#include "elementary.h"

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
                names[one] = literal(value)
            case Variable(name=name):
                names[one] = name
            case Mean(value=value, decay=decay, corrected=corrected):
                number = kept.index((value, decay))
                if number not in fresh:
                    fresh.add(number)
                    at = f"mean{number}[i]"
                    inside.append(
                        f"        const float e{number} = {at} + {literal(1 - decay)} * "
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
    return TEMPLATE.format(
        rule=_comment(str(rule)),
        before="\n".join(before),
        inside="\n".join(inside),
        result=names[rule],
        smallest=SMALLEST,
    )


def literal(value: float) -> str:
    """A number of fp32 in C."""
    text = repr(float(value))
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def _comment(text: str) -> str:
    return text.replace("*/", "* /")


def names_of_states(rule: Expression) -> Sequence[str]:
    """The names of the running means in checkpoints."""
    return [f"mean_{number}" for number in range(len(means(rule)))]
