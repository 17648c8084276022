"""Cells as C: a step of many units forward, and its gradients, compiled for the processor. It
includes `elementary.h` of the compiled kernels, for functions that can be vectorised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nmt.rules.cells import MEMORY, STATE, Cell
from nmt.rules.code import literal
from nmt.rules.expression import Call, Expression, Number, Variable

# Fewer numbers than these are not worth waking other threads for.
SMALLEST = 16_384

FORMS: Mapping[str, str] = {
    "negative": "-{0}",
    "tanh": "squashed({0})",
    "sigmoid": "gate({0})",
    "relu": "({0} > 0.0f ? {0} : 0.0f)",
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
}
# What an argument's gradient gets: {g} is the result's gradient, {y} the result.
SLOPES: Mapping[str, tuple[str, ...]] = {
    "negative": ("-{g}",),
    "tanh": ("{g} * (1.0f - {y} * {y})",),
    "sigmoid": ("{g} * {y} * (1.0f - {y})",),
    "relu": ("({y} > 0.0f ? {g} : 0.0f)",),
    "+": ("{g}", "{g}"),
    "-": ("{g}", "-{g}"),
    "*": ("{g} * {1}", "{g} * {0}"),
}
TEMPLATE = """#include "elementary.h"

/* {cell} */

INLINE float gate(float x) {{ return 1.0f / (1.0f + exponential(-x)); }}
INLINE float squashed(float x) {{ return 2.0f * gate(2.0f * x) - 1.0f; }}

/* Of each row: products with the input (inputs, H) and with the state (states, H), state and memory
before the step (H,) → those after it, which may be written over them. */
void nmt_cell(long rows, long H, const float *inputs, const float *states, const float *state,
              const float *memory, float *next_state, float *next_memory, int threads)
{{
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * H >= {smallest})
    for (long row = 0; row < rows; row++) {{
        const float *const in = inputs + row * {inputs} * H;
        const float *const of = states + row * {states} * H;
        const long at = row * H;
#pragma omp simd
        for (long i = 0; i < H; i++) {{
{loads}
{forward}
{results}
        }}
    }}
}}

/* Gradients of what `nmt_cell` gives → gradients of what it was given. */
void nmt_cell_gradients(long rows, long H, const float *inputs, const float *states,
                        const float *state, const float *memory, const float *by_state,
                        const float *by_memory, float *by_inputs, float *by_states,
                        float *by_state_before, float *by_memory_before, int threads)
{{
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * H >= {smallest})
    for (long row = 0; row < rows; row++) {{
        const float *const in = inputs + row * {inputs} * H;
        const float *const of = states + row * {states} * H;
        float *const by_in = by_inputs + row * {inputs} * H;
        float *const by_of = by_states + row * {states} * H;
        const long at = row * H;
#pragma omp simd
        for (long i = 0; i < H; i++) {{
{loads}
{forward}
{backward}
        }}
    }}
}}
"""


def c_code(cell: Cell) -> str:
    """Two functions, `nmt_cell` and `nmt_cell_gradients`. A cell without a memory never touches
    what it is given for one."""
    names = _names(cell)
    results = [f"next_state[at + i] = {names[cell.output]};"]
    if cell.memory is not None:
        # Both are read before either is written: they may be the same numbers.
        results = [
            f"const float new_memory = {names[cell.memory]};",
            *results,
            "next_memory[at + i] = new_memory;",
        ]
    return TEMPLATE.format(
        cell=str(cell),
        smallest=SMALLEST,
        inputs=len(cell.inputs),
        states=len(cell.states),
        loads=_indented(_loads(cell)),
        forward=_indented(_forward(cell, names)),
        results=_indented(results),
        backward=_indented(_backward(cell, names)),
    )


def _indented(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(" " * 12 + line for line in lines)


def _names(cell: Cell) -> dict[Expression, str]:
    names: dict[Expression, str] = {}
    for place, part in enumerate(cell.parts):
        match part:
            case Number(value=value):
                names[part] = literal(value)
            case Variable(name=name):
                names[part] = f"v_{name}"
            case _:
                names[part] = f"t{place}"
    return names


def _places(cell: Cell) -> Iterator[tuple[Variable, str, str]]:
    """Each variable, where it is read and where its gradient is written."""
    for number, one in enumerate(cell.inputs):
        yield Variable(f"x{one}"), f"in[{number} * H + i]", f"by_in[{number} * H + i]"
    for number, one in enumerate(cell.states):
        yield Variable(f"h{one}"), f"of[{number} * H + i]", f"by_of[{number} * H + i]"
    yield STATE, "state[at + i]", "by_state_before[at + i]"
    if cell.memory is not None:
        yield MEMORY, "memory[at + i]", "by_memory_before[at + i]"


def _loads(cell: Cell) -> Iterator[str]:
    used = set(cell.parts)
    for variable, place, _ in _places(cell):
        if variable in used:
            yield f"const float v_{variable.name} = {place};"


def _forward(cell: Cell, names: Mapping[Expression, str]) -> Iterator[str]:
    for part in cell.parts:
        if isinstance(part, Call):
            value = FORMS[part.name].format(*(f"({names[one]})" for one in part.arguments))
            yield f"const float {names[part]} = {value};"


def _backward(cell: Cell, names: Mapping[Expression, str]) -> Iterator[str]:
    """Reverse accumulation: each part's gradient is complete when its turn comes."""
    parts = [part for part in cell.parts if not isinstance(part, Number)]
    by = {part: f"d{place}" for place, part in enumerate(parts)}
    for part in parts:
        start = ["by_state[at + i]"] if part == cell.output else []
        start += ["by_memory[at + i]"] if part == cell.memory else []
        yield f"float {by[part]} = {' + '.join(start) or '0.0f'};"
    for part in reversed(parts):
        if not isinstance(part, Call):
            continue
        operands = [f"({names[one]})" for one in part.arguments]
        for one, slope in zip(part.arguments, SLOPES[part.name], strict=True):
            if one in by:
                value = slope.format(*operands, g=by[part], y=names[part])
                yield f"{by[one]} += {value};"
    for variable, _, place in _places(cell):
        yield f"{place} = {by.get(variable, '0.0f')};"
