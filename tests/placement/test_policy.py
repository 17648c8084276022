"""The placement policy: what it sees, what it draws, and where its randomness comes from."""

from __future__ import annotations

import pytest
import torch

from nmt.placement.policy import (
    Features,
    PlacementPolicy,
    apply_policy,
    pretrain,
    reinforce,
    rewards_of,
)
from nmt.placement.problem import Candidate, PlanSearch
from tests.placement.problems import LEARNING, chain, cluster, problem, random_chain


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_features_do_not_depend_on_units() -> None:
    """The same graph in milliseconds, with sizes in kilobytes, looks the same."""
    seconds, sizes = [1.0, 3.0, 2.0], [1e9, 2e9, 3e9]
    large = chain(seconds, parameters=sizes, output=1e9, kept=2e9)
    small = chain([s / 1e3 for s in seconds], [s / 1e3 for s in sizes], output=1e6, kept=2e6)
    found = [
        Features.of(problem(profile, cluster([1, 2], memory=[limit, 2 * limit])))
        for profile, limit in ((large, 32.0), (small, 0.032))
    ]
    for name in ("groups", "sources", "readers", "loads", "memory", "speeds", "granularities"):
        torch.testing.assert_close(
            getattr(found[0], name), getattr(found[1], name), rtol=1e-4, atol=1e-5, msg=name
        )


def test_parts_sum_to_one() -> None:
    features = Features.of(problem(random_chain(1, 5), cluster([1, 1, 2])))
    assert float(features.loads.sum()) == pytest.approx(1)
    assert float(features.speeds.sum()) == pytest.approx(1)
    assert features.sources.sum(1).tolist() == pytest.approx([0, 1, 1, 1, 1])
    assert features.readers.sum(1).tolist() == pytest.approx([1, 1, 1, 1, 0])


@pytest.mark.parametrize("layers", [2, 7])
@pytest.mark.parametrize("devices", [1, 4])
def test_one_policy_serves_any_graph_and_cluster(layers: int, devices: int) -> None:
    policy = PlacementPolicy(8, generator())
    granularities = [(1, 1), (2, 1), (4, 2)]
    of = problem(random_chain(3, layers), cluster([1.0] * devices), granularities)
    samples = policy.sample(Features.of(of), 16, generator(2))
    assert samples.log_probabilities.shape == samples.entropies.shape == (16,)
    for candidate in samples.candidates:
        assert len(candidate.devices) == layers
        assert all(0 <= device < devices for device in candidate.devices)
        assert 0 <= candidate.granularity < 3


def test_probabilities_are_those_of_what_is_drawn() -> None:
    """Over all candidates of a small problem they sum to 1, and match how often each is drawn."""
    of = problem(chain([1.0, 2.0]), cluster([1, 1]))
    policy, features = PlacementPolicy(8, generator()), Features.of(of)
    with torch.no_grad():
        samples = policy.sample(features, 4000, generator(3))
    shares: dict[Candidate, list[float]] = {}
    for candidate, log_p in zip(
        samples.candidates, samples.log_probabilities.tolist(), strict=True
    ):
        shares.setdefault(candidate, []).append(log_p)
    probabilities = {c: float(torch.tensor(values[0]).exp()) for c, values in shares.items()}
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
    for candidate, values in shares.items():
        assert max(values) - min(values) < 1e-4
        assert len(values) / 4000 == pytest.approx(probabilities[candidate], abs=0.04)


def test_the_likeliest_needs_no_randomness() -> None:
    of = problem(random_chain(2, 6), cluster([1, 1, 1]))
    policy, features = PlacementPolicy(8, generator()), Features.of(of)
    with torch.no_grad():
        first, second = (policy.sample(features, 1).candidates[0] for _ in range(2))
    assert first == second


def test_the_global_generator_stays_as_it_was() -> None:
    of = problem(random_chain(2, 4), cluster([1, 1]), objective="bottleneck")
    before = torch.get_rng_state()
    policy = pretrain([of], 3, 1, LEARNING)
    reinforce(PlanSearch(of, 20), 1, LEARNING)
    apply_policy(PlanSearch(of, 10), 1, policy, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_gives_the_same_policy() -> None:
    of = problem(random_chain(2, 4), cluster([1, 1]), objective="bottleneck")
    first, second, other = (pretrain([of], 5, seed, LEARNING).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_rewards() -> None:
    """Half the time of one device is worth -√½; what does not fit is worse than one device."""
    profile = chain([1.0, 1.0], parameters=[1e9, 1e9])
    of = problem(profile, cluster([1, 1], memory=[4.5, 4.5]), objective="bottleneck")
    search = PlanSearch(of, 10)
    rewards = rewards_of(search, [Candidate((0, 1), 0), Candidate((0, 0), 0)]).tolist()
    assert rewards[0] == pytest.approx(-(0.5**0.5))
    assert rewards[1] < -(2**0.5)
