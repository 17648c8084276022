from __future__ import annotations

from math import inf

from nmt.placement.partitions import best_partitions


def test_the_costliest_run_is_as_cheap_as_possible() -> None:
    values = [2.0, 4.0, 3.0, 2.0]
    found = best_partitions(4, 4, lambda i, j, _: sum(values[i:j]))
    assert [one.largest for one in found] == [11.0, 6.0, 5.0, 4.0]
    assert [one.bounds for one in found][1:] == [[0, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]]


def test_what_may_not_be() -> None:
    """The second run must be of one member; three runs cannot be made of two members."""
    found = best_partitions(2, 3, lambda i, j, run: inf if run == 1 and j - i > 1 else 1.0)
    assert [one.largest for one in found] == [1.0, 1.0, inf]
    assert found[1].bounds == [0, 1, 2]
