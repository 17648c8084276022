"""The best loss so far over what a search has spent, of one search or of several with the same
method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from nmt.search.child import Record
from nmt.search.history import read_events, read_identity
from nmt.search.search import as_record


class Curve(NamedTuple):
    """One search."""

    name: str
    method: str
    seed: int
    by: str  # unit of the budget
    records: list[Record]  # in the order in which they ended

    @property
    def best_so_far(self) -> list[tuple[float, float]]:
        """(spent, loss) where the best loss falls, and at the end."""
        points: list[tuple[float, float]] = []
        for one in self.records:
            if one.is_whole and one.loss is not None and (not points or one.loss < points[-1][1]):
                points.append((one.at, one.loss))
        if points:
            points.append((self.records[-1].at, points[-1][1]))
        return points


def read_curve(folder: Path) -> Curve:
    """A search in its folder.

    Raises:
        ConfigurationError: the folder holds none.
    """
    identity = read_identity(folder)
    records = [as_record(event) for event in read_events(folder) if event["event"] == "end"]
    return Curve(
        folder.name,
        identity["method"]["method"],
        identity["seed"],
        identity["budget"]["by"],
        records,
    )


class Band(NamedTuple):
    """Several searches with the same method, over a common grid."""

    method: str
    searches: int
    spent: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]


def bands(curves: Iterable[Curve], points: int = 200) -> list[Band]:
    """The median of each method's searches, and their range, from where all have a loss to where
    the first one ends."""
    by_method: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.best_so_far:
            by_method.setdefault(curve.method, []).append(curve)
    found = []
    for method, group in by_method.items():
        steps = [curve.best_so_far for curve in group]
        first, last = max(one[0][0] for one in steps), min(one[-1][0] for one in steps)
        if last < first:
            continue
        grid = [first + (last - first) * i / (points - 1) for i in range(points)]
        values = [[at(one, x) for one in steps] for x in grid]
        found.append(
            Band(
                method,
                len(group),
                grid,
                [median(one) for one in values],
                [min(one) for one in values],
                [max(one) for one in values],
            )
        )
    return found


def at(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value of a falling step function."""
    return [loss for place, loss in points if place <= x][-1]
