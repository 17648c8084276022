"""Recurrent cells as decisions (Zoph & Le, “Neural Architecture Search with Reinforcement
Learning”, ICLR 2017).

A cell begins with pairs of products, one with the input and one with the state, each pair combined
and squashed. Nodes then combine two values each: products, earlier nodes, the state and the memory.
The last node is the next state; the memory is what one of the nodes has before its activation. The
paper's trees are special cases, and so are the LSTM and the GRU.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from nmt.config import CellSpaceConfig
from nmt.errors import ConfigurationError, RuleError
from nmt.rules.cell_check import fingerprint, problem_of
from nmt.rules.cells import MEMORY, STATE, Cell, read_cell
from nmt.rules.expression import Call, Expression, Variable, children, depends_on, parts
from nmt.search.decision import Decision

SIGNS = {"add": "+", "multiply": "*", "subtract": "-"}
PAIRS = ("both", "times", "input", "state")  # x + h, x * h, x alone, h alone
PER_PRODUCT, PER_NODE = 2, 4  # decisions


class CellDimension:
    """The setting `model.cell`."""

    def __init__(self, path: str, config: CellSpaceConfig) -> None:
        self._path, self._config = path, config
        self.decisions = list(self._decisions())

    def _decisions(self) -> list[Decision]:
        config, made = self._config, []
        activations = tuple(config.activations)
        for number in range(config.products):
            name = f"{self._path}, product {number}"
            made.append(Decision(f"{name}: of", PAIRS))
            made.append(Decision(f"{name}: activation", activations))
        for number in range(config.nodes):
            name = f"{self._path}, node {number}"
            operands = (
                *(f"product {one}" for one in range(config.products)),
                "state",
                "memory",
                *(f"node {one}" for one in range(number)),
            )
            made += [
                Decision(f"{name}: first operand", operands),
                Decision(f"{name}: second operand", operands),
                Decision(f"{name}: combination", tuple(config.combinations)),
                Decision(f"{name}: activation", activations),
            ]
        nodes = tuple(f"node {one}" for one in range(config.nodes))
        made.append(Decision(f"{self._path}: memory", ("none", *nodes)))
        return made

    def value(self, choices: Sequence[int]) -> str:
        """See Dimension. A choice that cannot be computed (the memory of a cell without one) is
        replaced by the state."""
        config = self._config
        has_memory = choices[-1] > 0
        operands: list[Expression] = []
        for number in range(config.products):
            pair, activation = choices[number * PER_PRODUCT : (number + 1) * PER_PRODUCT]
            x, h = Variable(f"x{number}"), Variable(f"h{number}")
            product = (Call("+", (x, h)), Call("*", (x, h)), x, h)[pair]
            operands.append(self._squashed(product, activation))
        operands += [STATE, MEMORY if has_memory else STATE]
        before = []  # each node's value before its activation
        first = config.products * PER_PRODUCT
        for number in range(config.nodes):
            at = first + number * PER_NODE
            left, right, combination, activation = choices[at : at + PER_NODE]
            value = self._combined(combination, operands[left], operands[right])
            before.append(value)
            operands.append(self._squashed(value, activation))
        memory = before[choices[-1] - 1] if has_memory else None
        output = operands[-1]
        if not depends_on(output, MEMORY.name):
            memory = None  # it would never be read
        return str(Cell(output, memory))

    def _combined(self, combination: int, left: Expression, right: Expression) -> Expression:
        name = self._config.combinations[combination]
        return left if name == "first" else Call(SIGNS[name], (left, right))

    def _squashed(self, value: Expression, activation: int) -> Expression:
        name = self._config.activations[activation]
        return value if name == "identity" else Call(name, (value,))

    def choices(self, value: str) -> tuple[int, ...]:
        """See Dimension."""
        try:
            return _Encoder(self._config, read_cell(value)).choices()
        except (_DoesNotFitError, ValueError) as error:
            raise ConfigurationError(
                [
                    f"`{self._path}` must be a cell of the space, but `{value}` in a starting "
                    f"point is not: {error}; change the cell, or what the space allows."
                ]
            ) from None
        except RuleError as error:
            raise ConfigurationError([f"`{self._path}` must be a cell. {error}"]) from None

    def key(self, value: str) -> Hashable:
        """See Dimension: cells that are the same function have the same."""
        return fingerprint(value)

    def problem(self, value: str) -> str | None:
        """See Dimension."""
        return problem_of(value)


class _DoesNotFitError(Exception):
    """A cell is not in the space; the message says what is missing."""


class _Encoder:
    """Finds the choices for a cell."""

    def __init__(self, config: CellSpaceConfig, cell: Cell) -> None:
        self._config, self._cell = config, cell
        self._products: list[tuple[int, int]] = []
        self._nodes: list[tuple[int, int, int, int]] = []  # operands; those of nodes are negative
        self._before: list[Expression] = []
        self._leaves: dict[Expression, set[str]] = {}  # pairs of products → their activations
        for whole in (cell.output, cell.memory):
            if whole is not None:
                self._collect(whole)
        self._known: dict[Expression, int] = {
            STATE: config.products,
            MEMORY: config.products + 1,
        }

    def _collect(self, value: Expression) -> None:
        """Note the pairs of products in a value."""
        inner, activation = _unsquashed(value)
        if _pair(inner) is None:
            for child in children(value):
                self._collect(child)
            return
        for other in self._leaves:
            if other != inner and (shared := _variables(other) & _variables(inner)):
                raise _DoesNotFitError(f"it uses {' and '.join(sorted(shared))} in two ways")
        self._leaves.setdefault(inner, set()).add(activation)

    def choices(self) -> tuple[int, ...]:
        """All choices, in the order of the decisions."""
        config, cell = self._config, self._cell
        memory = -1
        if cell.memory is not None:
            for one in cell.parts:  # what is squashed has the memory before its activation
                if isinstance(one, Call) and one.arguments == (cell.memory,):
                    self._operand(one)
            if cell.memory not in self._before:
                self._node(cell.memory, "identity")
            memory = self._before.index(cell.memory)
        place = self._operand(cell.output)
        if place != -len(self._nodes) or not self._nodes:
            self._add_node(place, place, "first", "identity", cell.output)
        missing = config.nodes - len(self._nodes)
        if missing < 0 or len(self._products) > config.products:
            raise _DoesNotFitError(
                f"it needs {len(self._products)} products and {len(self._nodes)} nodes"
            )
        flat = [one for pair in self._products for one in pair]
        flat += [self._index(PAIRS, "both"), 0] * (config.products - len(self._products))
        for _ in range(missing):
            flat += [0, 0, 0, 0]
        for left, right, *rest in self._nodes:
            flat += [self._shifted(left, missing), self._shifted(right, missing), *rest]
        return (*flat, 0 if memory < 0 else memory + missing + 1)

    def _shifted(self, operand: int, missing: int) -> int:
        return operand if operand >= 0 else self._config.products + 1 + missing - operand

    def _operand(self, value: Expression) -> int:
        """The place of an operand with this value, made if there is none; of nodes, -1, -2, …"""
        if value not in self._known:
            inner, activation = _unsquashed(value)
            pair = _pair(inner)
            shared = len(self._leaves.get(inner, ())) > 1 and activation != "identity"
            if pair is not None and not shared:
                self._products.append((PAIRS.index(pair), self._activation(activation)))
                self._known[value] = len(self._products) - 1
            else:
                self._node(inner, activation)
                self._known[value] = -len(self._nodes)
        return self._known[value]

    def _node(self, inner: Expression, activation: str) -> None:
        if isinstance(inner, Call) and inner.name in SIGNS.values() and _pair(inner) is None:
            left, right = (self._operand(one) for one in inner.arguments)
            name = next(name for name, sign in SIGNS.items() if sign == inner.name)
        else:
            bare = _unsquashed(inner)[1] == "identity" and _pair(inner) is None
            if activation == "identity" and inner not in self._known and bare:
                raise _DoesNotFitError(f"`{inner}` is none of its parts")
            left = right = self._operand(inner)
            name = "first"
        self._add_node(left, right, name, activation, inner)

    def _add_node(
        self, left: int, right: int, combination: str, activation: str, before: Expression
    ) -> None:
        self._nodes.append(
            (
                left,
                right,
                self._index(self._config.combinations, combination),
                self._activation(activation),
            )
        )
        self._before.append(before)

    def _activation(self, name: str) -> int:
        return self._index(self._config.activations, name)

    @staticmethod
    def _index(names: Sequence[str], name: str) -> int:
        if name not in names:
            raise _DoesNotFitError(f"it needs `{name}`")
        return list(names).index(name)


def _unsquashed(value: Expression) -> tuple[Expression, str]:
    if isinstance(value, Call) and value.name in ("tanh", "sigmoid", "relu"):
        return value.arguments[0], value.name
    return value, "identity"


def _pair(value: Expression) -> str | None:
    """How a product of the input and one of the state are combined in a value; None: otherwise."""
    match value:
        case Variable(name=name) if len(name) > 1:
            return "input" if name[0] == "x" else "state"
        case Call(name="+" | "*" as sign, arguments=(Variable(name=x), Variable(name=h))):
            if x[0] == "x" and h[0] == "h" and x[1:] == h[1:] != "":
                return "both" if sign == "+" else "times"
    return None


def _variables(value: Expression) -> set[str]:
    return {one.name for one in parts(value) if isinstance(one, Variable)}
