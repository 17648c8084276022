from __future__ import annotations

import pytest

from nmt.placement.annealing import annealing
from nmt.placement.exact import exact
from nmt.placement.problem import PlanSearch
from nmt.placement.shards import split_layers
from tests.placement.problems import chain, cluster, problem


@pytest.mark.parametrize(("kind", "gates"), [("LstmLayer", 4), ("GruLayer", 3)])
def test_a_product_is_as_large_as_the_gates(kind: str, gates: int) -> None:
    profile = chain([1.0, 3.0], parameters=[1.0, 2.0], kept=6.0)
    layers = dict(profile.layers)
    layers["b"] = layers["b"].model_copy(update={"kind": kind, "output_bytes": 8.0})
    found = split_layers(profile.model_copy(update={"layers": layers}))
    assert found.layers["b/inputs"].output_bytes == gates * 8


def test_the_work_stays_the_same_and_the_parts_are_smaller() -> None:
    profile = chain([1.0, 3.0, 4.0], parameters=[1.0, 2.0, 3.0], kept=6.0)
    kinds = {"a": "Embedding", "b": "LstmLayer", "c": "Output"}
    layers = {
        name: layer.model_copy(update={"kind": kinds[name]})
        for name, layer in profile.layers.items()
    }
    profile = profile.model_copy(update={"layers": layers})
    found = split_layers(profile, shards=2)
    assert list(found.layers) == ["a", "b/inputs", "b", "c/0", "c/1", "c"]
    assert found.layers["b"].inputs == ["b/inputs"]
    assert found.layers["c"].inputs == ["c/0", "c/1"]
    assert sum(found.layer_seconds().values()) == pytest.approx(8.0)
    assert found.layer_seconds()["b/inputs"] == pytest.approx(1.5), "one input as wide as the state"
    assert sum(layer.kept_bytes for layer in found.layers.values()) == pytest.approx(18.0)
    devices = cluster([1, 1])
    coarse, fine = (
        PlanSearch(problem(profile, devices), 500),
        PlanSearch(problem(found, devices), 500),
    )
    exact(coarse)
    annealing(fine, 1)
    assert fine.best_seconds < 0.9 * coarse.best_seconds
