from __future__ import annotations

import pytest

from nmt.placement.cost import STATE_FACTOR
from nmt.placement.simulate import Simulator
from tests.placement.problems import chain, cluster

SPLIT = {"a": 0, "b": 1}


def test_a_pipeline_by_hand() -> None:
    """Two layers of 1 s forward and 2 s backward, in four micro-batches of a quarter each."""
    found = Simulator(chain([3.0, 3.0]), cluster([1.0, 1.0])).run(SPLIT, 4, 1, "1f1b")
    assert found.seconds == pytest.approx((1 + 4 * 3 + 2) / 4)
    assert found.idle == pytest.approx(1 - 6 / (2 * 3.75))
    assert found.feasible


def test_a_faster_device() -> None:
    found = Simulator(chain([3.0, 3.0]), cluster([1.0, 2.0])).run(SPLIT, 1, 1, "1f1b")
    assert found.seconds == pytest.approx(1 + 0.5 + 1 + 2)


def test_messages_take_latency_and_size_by_bandwidth_both_ways() -> None:
    profile = chain([3.0, 3.0], output=2e9)
    found = Simulator(profile, cluster([1, 1], bandwidth=4.0, latency=0.1)).run(SPLIT, 1, 1, "1f1b")
    assert found.seconds == pytest.approx(6.0 + 2 * (0.1 + 0.5))
    halves = Simulator(profile, cluster([1, 1], bandwidth=4.0)).run(SPLIT, 2, 1, "1f1b")
    assert halves.timeline.start[halves.timeline.orders[1][0]] == pytest.approx(0.5 + 0.25)


def test_messages_that_the_devices_themselves_carry() -> None:
    """Each of the four tasks sends or receives 2 GB at half a second per GB."""
    profile = chain([3.0, 3.0], output=2e9).model_copy(update={"message_overhead": 0.5e-9})
    found = Simulator(profile, cluster([1, 1])).run(SPLIT, 1, 1, "1f1b")
    assert found.seconds == pytest.approx(6.0 + 4 * 1.0)
    halves = Simulator(profile, cluster([1, 1])).run(SPLIT, 2, 1, "1f1b")
    first = halves.timeline.orders[0][0]
    assert halves.timeline.end[first] == pytest.approx(0.5 + 0.5)
    alone = Simulator(profile, cluster([1, 1])).run({"a": 0, "b": 0}, 1, 1, "1f1b")
    assert alone.seconds == pytest.approx(6.0), "no message"


def test_a_device_gets_an_output_once() -> None:
    profile = chain([1.0] * 4, output=1e9)
    layers = dict(profile.layers)
    for name in "cd":
        layers[name] = layers[name].model_copy(update={"inputs": ["a"]})
    profile = profile.model_copy(update={"layers": layers})
    sizes = profile.carried_bytes({"a": 0, "b": 0, "c": 1, "d": 1})
    assert sizes == {"a": 1e9, "b": 0.0, "c": 1e9, "d": 0.0}
    assert sum(profile.carried_bytes({"a": 0, "b": 0, "c": 1, "d": 2}).values()) == 4e9


def test_memory_is_state_and_what_waits_for_its_backward_pass() -> None:
    profile = chain([3.0, 3.0], parameters=[1e9, 2e9], output=8e9, kept=16e9)
    simulator = Simulator(profile, cluster([1, 1], memory=[20.1, 20.0]))
    found = simulator.run(SPLIT, 4, 1, "1f1b")
    # The first device has two micro-batches on their way, the second one.
    assert found.memory == (STATE_FACTOR * 1e9 + 2 * 4e9, STATE_FACTOR * 2e9 + 1 * 4e9)
    assert found.feasible
    together = simulator.run(SPLIT, 4, 1, "gpipe")
    assert together.memory == (STATE_FACTOR * 1e9 + 4 * 4e9, STATE_FACTOR * 2e9 + 4 * 4e9)
    assert together.over_memory == (1,)


def test_shared_parameters_count_once_a_device() -> None:
    profile = chain([1.0] * 3, parameters=[1e9] * 3)
    tied = profile.model_copy(
        update={
            "layers": {
                **profile.layers,
                "b": profile.layers["b"].model_copy(update={"shares": ["a"]}),
                "c": profile.layers["c"].model_copy(update={"shares": ["a"]}),
            }
        }
    )
    simulator = Simulator(tied, cluster([1, 1]))
    assert simulator.parameter_bytes(0, {"a": 0, "b": 0, "c": 0}) == 1e9
    assert simulator.parameter_bytes(1, {"a": 0, "b": 1, "c": 1}) == 1e9, "without their owner"


def test_masks_updates_and_lengths_of_micro_batches() -> None:
    profile = chain([3.0, 3.0])
    extra = {
        name: layer.model_copy(update={"draw_seconds": 0.25, "update_seconds": update})
        for (name, layer), update in zip(profile.layers.items(), (0.5, 1.0), strict=True)
    }
    simulator = Simulator(profile.model_copy(update={"layers": extra}), cluster([1, 1]))
    # Each draws before its first task; both update at the same time when all is done.
    assert simulator.run(SPLIT, 1, 1, "1f1b").seconds == pytest.approx(6 + 2 * 0.25 + 1.0)
    assert simulator.single_device_seconds == pytest.approx(6 + 2 * 0.25 + 1.5)
    long = simulator.run(SPLIT, 2, 1, "1f1b", [{"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 3.0}])
    # a: .5+.25, b of the first: .5+.25 and 1 back; a's second forward is done at 2.25; and so on.
    ends = {str(task): end for task, end in long.timeline.end.items()}
    assert ends["forward b 0 0"] == pytest.approx(1.5)
    assert ends["forward a 1 0"] == pytest.approx(2.25)
    assert ends["forward b 1 0"] == pytest.approx(2.5 + 1.5)
    assert long.seconds == pytest.approx(4.0 + 3.0 + 3.0 + 1.0)


def test_factors_of_a_profile() -> None:
    profile = chain([1.0, 1.0])
    sized = profile.measurements[0].model_copy(update={"size": {"sentences": 2, "source": 10}})
    profile = profile.model_copy(update={"measurements": [sized]})
    pieces = [{"sentences": 2, "source": 20}, {"sentences": 1, "source": 5}]
    assert profile.factors(1, 1, pieces) == [{"a": 2.0, "b": 2.0}, {"a": 0.5, "b": 0.5}]
