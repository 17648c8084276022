"""A placement policy, trained with REINFORCE (Mirhoseini et al. 2017).

An encoder reads the graph: the type, costs and sizes of each group of layers, and those of its
neighbours over several rounds of message passing. A decoder then visits the groups in order,
attends to all of them, and chooses a device for each. The policy knows a device not by its number
but by features (how busy and how full it would be, how much of the group's input it has already),
and a granularity by its numbers of micro-batches and chunks, so that one policy serves any number
of devices, layers and granularities.

G groups, D devices, C granularities, B samples, H units, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.config import LearningConfig
from nmt.errors import PlanError
from nmt.placement.problem import Candidate, PlanSearch, Problem
from nmt.reinforce import Reinforce

KINDS = 8  # hash buckets for the types of layers
ROUNDS = 3  # rounds of message passing
DEVICE_FEATURES, GRANULARITY_FEATURES = 9, 2


@dataclass(frozen=True)
class Features:
    """A problem as features that do not depend on units or on its size."""

    groups: Tensor  # (G, F)
    sources: Tensor  # (G, G) row g: fractions of g's input bytes that come from each group
    readers: Tensor  # (G, G) row g: fractions of g's output bytes that go to each group
    loads: Tensor  # (G,) fractions of the total time
    memory: Tensor  # (G, D) fraction of each device's memory that a group's state would take
    speeds: Tensor  # (D,) fractions of the sum of all speeds
    granularities: Tensor  # (C, GRANULARITY_FEATURES)

    @classmethod
    def of(cls, problem: Problem) -> Features:
        """The features of a problem."""
        profile, groups, cluster = problem.profile, problem.groups, problem.cluster
        place = {name: i for i, group in enumerate(groups) for name in group}
        G = len(groups)
        flow = torch.zeros(G, G)  # bytes from the column's group to the row's
        for name, layer in profile.layers.items():
            for source in layer.inputs:
                if place[source] != place[name]:
                    flow[place[name], place[source]] += profile.layers[source].output_bytes + 1
        loads = torch.tensor(problem.loads) / sum(problem.loads)
        state = torch.tensor(
            [
                sum(
                    4 * profile.layers[name].parameter_bytes + profile.layers[name].kept_bytes
                    for name in group
                )
                for group in groups
            ]
        )
        output = torch.tensor(
            [sum(profile.layers[name].output_bytes for name in group) for group in groups]
        )
        kinds = torch.zeros(G, KINDS)
        for i, group in enumerate(groups):
            for name in group:
                kinds[i, crc32(profile.layers[name].kind.encode()) % KINDS] = 1
        position = torch.arange(G)[:, None] / G
        columns = [
            loads[:, None] * G,
            _fractions(state)[:, None] * G,
            _fractions(output)[:, None] * G,
        ]
        fan = torch.stack([(flow > 0).sum(1), (flow > 0).sum(0)], 1) / 4
        limits = torch.tensor([cluster.memory(d) for d in range(len(cluster))])
        return cls(
            groups=torch.cat([*columns, position, fan, kinds], 1),
            sources=_row_fractions(flow),
            readers=_row_fractions(flow.t()),
            loads=loads,
            memory=state[:, None] / limits,
            speeds=torch.tensor(cluster.speeds) / sum(cluster.speeds),
            granularities=torch.tensor(
                [[float(m), float(c)] for m, c in problem.granularities]
            ).log2()
            / 4,
        )


def _fractions(values: Tensor) -> Tensor:
    return values / values.sum().clamp(min=1.0)


def _row_fractions(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1.0)


@dataclass(frozen=True)
class Samples:
    """Candidates drawn from a policy, with the terms of REINFORCE's loss."""

    candidates: list[Candidate]
    log_probabilities: Tensor  # (B,)
    entropies: Tensor  # (B,)


class PlacementPolicy(nn.Module):
    """Maps the features of a problem to a distribution over candidates."""

    def __init__(self, hidden: int = 48, generator: torch.Generator | None = None) -> None:
        """`generator` draws the initial values; without one, parameters are uninitialised until
        they are loaded."""
        super().__init__()
        with torch.device("meta"):  # so that the global generator is not used
            self._build(hidden)
        self.to_empty(device="cpu")
        if generator is not None:
            self._initialise(generator)

    def _build(self, hidden: int) -> None:
        self.hidden = hidden
        features = 6 + KINDS
        self.enter = nn.Linear(features, hidden)
        self.rounds = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(ROUNDS))
        self.cell = nn.LSTMCell(2 * hidden + DEVICE_FEATURES, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.device = nn.Sequential(
            nn.Linear(2 * hidden + DEVICE_FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )
        self.granularity = nn.Sequential(
            nn.Linear(hidden + GRANULARITY_FEATURES + 1, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw from PyTorch's default ranges: ±1/√inputs, for an LSTM ±1/√units."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
            elif isinstance(module, nn.LSTMCell):
                bound = module.hidden_size**-0.5
            else:
                continue
            for parameter in module.parameters(recurse=False):
                parameter.uniform_(-bound, bound, generator=generator)

    def encode(self, features: Features) -> Tensor:
        """The encoded groups of a problem, (G, H)."""
        h = torch.tanh(self.enter(features.groups))
        for layer in self.rounds:
            messages = [h, features.sources @ h, features.readers @ h]
            h = h + torch.tanh(layer(torch.cat(messages, 1)))
        return h

    def sample(
        self, features: Features, count: int, generator: torch.Generator | None = None
    ) -> Samples:
        """Draw `count` candidates with `generator`; without one, take the most probable device at
        each step."""
        encoded = self.encode(features)
        G, D, B = len(encoded), len(features.speeds), count
        scores = self.granularity(
            torch.cat(
                [
                    encoded.mean(0).expand(len(features.granularities), -1),
                    features.granularities,
                    torch.full((len(features.granularities), 1), D / 8),
                ],
                1,
            )
        )[:, 0].expand(B, -1)
        granularities, log_p, entropy = _draw(scores, generator)

        h = c = encoded.new_zeros(B, encoded.shape[1])
        busy, full = torch.zeros(B, D), torch.zeros(B, D)
        where = torch.zeros(B, G, dtype=torch.int64)
        chosen = torch.zeros(B, DEVICE_FEATURES)
        context = encoded.new_zeros(B, encoded.shape[1])
        for g in range(G):
            group = encoded[g].expand(B, -1)
            h, c = self.cell(torch.cat([group, context, chosen], 1), (h, c))
            attention = (self.query(h) @ encoded.t() / encoded.shape[1] ** 0.5).softmax(1)
            context = attention @ encoded
            devices = _device_features(features, g, where, busy, full)  # (B, D, ·)
            query = torch.cat([h, context], 1)[:, None].expand(B, D, -1)
            scores = self.device(torch.cat([query, devices], 2))[..., 0]
            picked, log_picked, entropy_picked = _draw(scores, generator)
            log_p, entropy = log_p + log_picked, entropy + entropy_picked
            where[:, g] = picked
            rows = torch.arange(B)
            chosen = devices[rows, picked]
            busy = busy.index_put((rows, picked), features.loads[g], accumulate=True)
            full = full.index_put((rows, picked), features.memory[g, picked], accumulate=True)
        candidates = [
            Candidate(tuple(device_of_group), granularity)
            for device_of_group, granularity in zip(
                where.tolist(), granularities.tolist(), strict=True
            )
        ]
        return Samples(candidates, log_p, entropy / (G + 1))


def _device_features(
    features: Features, g: int, where: Tensor, busy: Tensor, full: Tensor
) -> Tensor:
    """Features of each device when group g is placed, (B, D, DEVICE_FEATURES). `where` (B, G) has
    the devices of the groups before g, `busy` and `full` (B, D) the load and the fraction of memory
    that they take."""
    B, D = busy.shape
    speeds, loads = features.speeds, features.loads
    done = F.one_hot(where[:, :g], D).float()  # (B, g, D)
    incoming = features.sources[g, :g] @ done if g else torch.zeros(B, D)
    last = done[:, -1] if g else torch.zeros(B, D)
    then = (busy + loads[g]) / speeds  # 1: its share of the total in a perfectly balanced plan
    index = torch.arange(D).expand(B, D) / max(D - 1, 1)
    return torch.stack(
        [
            busy / speeds,
            then,
            (then - 1).clamp(min=0.0) * 4,
            full + features.memory[g],
            (full + features.memory[g] - 1).clamp(min=0.0) * 4,
            incoming,
            last,
            (busy == 0).float(),
            index,
        ],
        2,
    )


def _draw(scores: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, N) → the index drawn, its log probability, and the entropy, each (B,)."""
    log_p = scores.log_softmax(1)
    p = log_p.exp()
    if generator is None:
        chosen = p.argmax(1)
    else:
        chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
    return chosen, log_p.gather(1, chosen[:, None])[:, 0], -(p * log_p).sum(1)


def rewards_of(search: PlanSearch, candidates: list[Candidate]) -> Tensor:
    """Rewards (B,): -√(seconds of a step / seconds on a single device). The time of a candidate
    that does not fit into memory is increased by more than that on a single device, in proportion
    to the memory that is missing."""
    single = search.problem.single_device_seconds
    rewards = []
    for candidate in candidates:
        value = search.value(candidate)
        seconds = value.seconds + (0 if value.feasible else single * (1 + value.overflow))
        rewards.append(-((seconds / single) ** 0.5))
    return torch.tensor(rewards)


def reinforce(
    search: PlanSearch, seed: int, learning: LearningConfig, policy: PlacementPolicy | None = None
) -> PlacementPolicy:
    """Spend the budget on candidates drawn from a policy, and train it on each batch of them.
    Returns the policy: the given one, trained further, or a new one."""
    generator = torch.Generator().manual_seed(seed)
    policy = policy or PlacementPolicy(learning.hidden, generator)
    learner = Reinforce(policy.parameters(), learning.learning_rate)
    features = Features.of(search.problem)
    while search.budget_left:
        count = min(learning.samples, search.evaluations - search.used)
        samples = policy.sample(features, count, generator)
        rewards = rewards_of(search, samples.candidates)
        weight = learning.entropy * (1 - search.fraction_used)
        learner.update(0, samples.log_probabilities, samples.entropies, rewards, weight)
        with torch.no_grad():
            (most_probable,) = policy.sample(features, 1).candidates
        if search.budget_left:
            search.value(most_probable)
    return policy


def pretrain(
    problems: list[Problem], updates: int, seed: int, learning: LearningConfig
) -> PlacementPolicy:
    """Train a policy on many problems in turn, with a reward baseline for each, so that it can be
    applied to problems that it has never seen."""
    generator = torch.Generator().manual_seed(seed)
    policy = PlacementPolicy(learning.hidden, generator)
    learner = Reinforce(policy.parameters(), learning.learning_rate)
    searches = [PlanSearch(problem, evaluations=updates * learning.samples) for problem in problems]
    features = [Features.of(problem) for problem in problems]
    for update in range(updates):
        task = update % len(problems)
        samples = policy.sample(features[task], learning.samples, generator)
        rewards = rewards_of(searches[task], samples.candidates)
        weight = learning.entropy * (1 - update / updates)
        learner.update(task, samples.log_probabilities, samples.entropies, rewards, weight)
    return policy


def apply_policy(search: PlanSearch, seed: int, policy: PlacementPolicy, samples: int) -> None:
    """Spend the budget on a policy's candidates without training it: first the most probable one,
    then random draws, `samples` at a time."""
    generator = torch.Generator().manual_seed(seed)
    features = Features.of(search.problem)
    with torch.no_grad():
        rewards_of(search, policy.sample(features, 1).candidates)
        while search.budget_left:
            count = min(samples, search.evaluations - search.used)
            rewards_of(search, policy.sample(features, count, generator).candidates)


def save_policy(policy: PlacementPolicy, file: Path) -> None:
    """Write a policy's parameters as safetensors."""
    save_file(policy.state_dict(), file, {"hidden": str(policy.hidden)})


def load_policy(file: Path) -> PlacementPolicy:
    """Read a policy that `save_policy` has written.

    Raises:
        PlanError: the file is missing or not a policy.
    """
    try:
        with safe_open(file, "pt") as opened:
            policy = PlacementPolicy(int(opened.metadata()["hidden"]))
            names = opened.keys()  # safe_open's objects cannot be iterated over directly
            policy.load_state_dict({name: opened.get_tensor(name) for name in names})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PlanError(
            f"`{file}` must be a policy of `nmt-place mode=pretrain`, but is not: {error}"
        ) from None
    return policy
