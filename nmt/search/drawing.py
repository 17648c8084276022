"""Pictures of cells and rules: what is computed from what, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from nmt.rules.cells import Cell
from nmt.rules.expression import Call, Expression, Mean, Number, Variable, children, parts

BOX, ROW, GAP = 34, 66, 16  # heights of a box and a row, and the gap between boxes, in pixels
LETTER = 8.2  # width of a letter
COLOURS = {"given": "#dbe9f6", "function": "#fdebd0", "operator": "#f4f4f4", "result": "#d5f0d8"}
SIGNS = {"*": "×", "-": "−", "negative": "−"}


def cell_picture(cell: Cell) -> str:
    """A cell from its products, state and memory at the top to those after the step."""
    results = {cell.output: "next h"}
    if cell.memory is not None:
        results[cell.memory] = f"{results.get(cell.memory, '')} next c".strip()
    return _picture(cell.parts, results)


def rule_picture(rule: Expression) -> str:
    """An update rule from the gradient at the top to the step."""
    return _picture(list(parts(rule)), {rule: "step"})


def _picture(ordered: Sequence[Expression], results: Mapping[Expression, str]) -> str:
    """Boxes in rows, each row below those that its boxes are made of."""
    depth: dict[Expression, int] = {}
    for part in ordered:
        depth[part] = 1 + max((depth[one] for one in children(part)), default=-1)
    # What is given stands just above where it is used first.
    for part in ordered:
        users = [depth[one] for one in ordered if part in children(one)]
        if not children(part) and users:
            depth[part] = min(users) - 1
    rows: list[list[Expression]] = [[] for _ in range(max(depth.values()) + 1)]
    for part in ordered:
        rows[depth[part]].append(part)
    at = _places(rows, results)
    width = max(x + _width(part, results) / 2 for part, (x, _) in at.items()) + GAP
    height = len(rows) * ROW + 8
    lines, boxes = [], []
    for part, (x, y) in at.items():
        for one in children(part):
            x0, y0 = at[one]
            middle = (y0 + BOX + y) / 2
            lines.append(
                f'<path d="M{x0:.0f} {y0 + BOX:.0f} C{x0:.0f} {middle:.0f} {x:.0f} {middle:.0f} '
                f'{x:.0f} {y:.0f}" fill="none" stroke="#888"/>'
            )
        boxes.append(_box(part, x, y, results))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="sans-serif" font-size="14">'
        f"{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _places(
    rows: Sequence[Sequence[Expression]], results: Mapping[Expression, str]
) -> dict[Expression, tuple[float, float]]:
    """The middle of each box's upper edge. A box stands below what it is made of, if there is
    room."""
    at: dict[Expression, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        wished = []
        for place, part in enumerate(row):
            above = [at[one][0] for one in children(part) if one in at]
            wished.append((sum(above) / len(above) if above else place * 90.0 + 45, place, part))
        left = float(GAP)
        for x, _, part in sorted(wished, key=lambda one: one[:2]):
            half = _width(part, results) / 2
            x = max(x, left + half)
            at[part] = (x, number * ROW + 4)
            left = x + half + GAP
    return at


def _label(part: Expression) -> str:
    match part:
        case Number() | Variable():
            return str(part)
        case Mean(decay=decay, corrected=corrected):
            return f"{'mean' if corrected else 'ema'} {decay:g}"
        case Call(name=name):
            return SIGNS.get(name, name)
    return ""


def _text(part: Expression, results: Mapping[Expression, str]) -> str:
    result = results.get(part)
    return f"{_label(part)} → {result}" if result else _label(part)


def _width(part: Expression, results: Mapping[Expression, str]) -> float:
    return max(34.0, len(_text(part, results)) * LETTER + 18)


def _box(part: Expression, x: float, y: float, results: Mapping[Expression, str]) -> str:
    kind = "given"
    if isinstance(part, Mean) or (isinstance(part, Call) and part.name.isalpha()):
        kind = "function"
    elif isinstance(part, Call):
        kind = "operator"
    colour = COLOURS["result" if part in results else kind]
    width = _width(part, results)
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y:.0f}" width="{width:.1f}" height="{BOX}" rx="8" '
        f'fill="{colour}" stroke="#777"/><text x="{x:.1f}" y="{y + 22:.0f}" '
        f'text-anchor="middle" fill="#111">{escape(_text(part, results))}</text>'
    )
