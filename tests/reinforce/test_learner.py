import torch
from torch import nn

from nmt.reinforce import Reinforce


def bandit(weights: dict[str, nn.Parameter], rewards: dict[str, list[float]], steps: int) -> None:
    """A choice of three for each task, whose rewards are these."""
    torch.manual_seed(0)
    learner = Reinforce(weights.values(), learning_rate=0.05)
    for step in range(steps):
        task = sorted(weights)[step % len(weights)]
        log_p = weights[task].log_softmax(0)
        chosen = torch.multinomial(log_p.exp(), 16, replacement=True)
        entropy = -(log_p.exp() * log_p).sum().expand(16)
        learner.update(task, log_p[chosen], entropy, torch.tensor(rewards[task])[chosen], 0.0)


def test_what_is_rewarded_becomes_likely() -> None:
    weights = {"a": nn.Parameter(torch.zeros(3))}
    bandit(weights, {"a": [-1.0, -0.9, -1.0]}, 200)
    assert weights["a"].softmax(0)[1] > 0.9


def test_each_task_has_a_baseline_of_its_own() -> None:
    """The worst of a well paid task is paid better than the best of another."""
    weights = {name: nn.Parameter(torch.zeros(3)) for name in "ab"}
    bandit(weights, {"a": [100.0, 101.0, 100.0], "b": [-5.0, -5.0, -4.0]}, 400)
    assert weights["a"].softmax(0)[1] > 0.9
    assert weights["b"].softmax(0)[2] > 0.9


def test_the_unit_of_rewards_does_not_matter() -> None:
    found = []
    for unit in (1.0, 1e6):
        weights = {"a": nn.Parameter(torch.zeros(3))}
        bandit(weights, {"a": [-1.0 * unit, -0.5 * unit, -1.0 * unit]}, 50)
        found.append(weights["a"].detach())
    torch.testing.assert_close(found[0], found[1])


def test_the_baseline_follows_the_rewards() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    learner = Reinforce([parameter], 0.0, baseline_decay=0.5)
    assert learner.baseline("x") is None
    for reward, wanted in ((4.0, 4.0), (8.0, 6.0)):
        log_p = parameter.log_softmax(0)[:1]
        learner.update("x", log_p, torch.zeros(1), torch.tensor([reward]), 0.0)
        assert learner.baseline("x") == wanted


def test_entropy_is_rewarded() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, 0.0]))
    learner = Reinforce([parameter], 0.05)
    for _ in range(200):
        log_p = parameter.log_softmax(0)
        entropy = -(log_p.exp() * log_p).sum()[None]
        learner.update("x", log_p[:1], entropy, torch.ones(1), 1.0)
    assert abs(float(parameter.detach().softmax(0)[0]) - 0.5) < 0.05
