"""A policy that places layers, learned by REINFORCE (Mirhoseini et al. 2017).

An encoder reads the graph: each group of layers with its type, costs and sizes, and its neighbours
over some rounds of message passing. A decoder then goes through the groups in order, looks at all
of them by attention, and gives each a device. A device is not a number to the policy but a list of
figures (how busy it would be, how full, how much of the group's input it has already), and so is a
granularity (micro-batches and chunks): one policy serves any number of devices, layers and
granularities.

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

KINDS = 8  # buckets for the types of layers
ROUNDS = 3  # of message passing
DEVICE_FEATURES, GRANULARITY_FEATURES = 9, 2


@dataclass(frozen=True)
class Features:
    """A problem in figures that do not depend on units or sizes."""

    groups: Tensor  # (G, F)
    sources: Tensor  # (G, G) row g: parts of g's input bytes that come from each group
    readers: Tensor  # (G, G) row g: parts of g's output that go to each group
    loads: Tensor  # (G,) parts of the whole time
    memory: Tensor  # (G, D) parts of each device's memory that a group's state would take
    speeds: Tensor  # (D,) parts of the sum of all
    granularities: Tensor  # (C, GRANULARITY_FEATURES)

    @classmethod
    def of(cls, problem: Problem) -> Features:
        """Read a problem."""
        profile, groups, cluster = problem.profile, problem.groups, problem.cluster
        place = {name: i for i, group in enumerate(groups) for name in group}
        G = len(groups)
        flow = torch.zeros(G, G)  # bytes from column to row
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
        columns = [loads[:, None] * G, _parts(state)[:, None] * G, _parts(output)[:, None] * G]
        fan = torch.stack([(flow > 0).sum(1), (flow > 0).sum(0)], 1) / 4
        limits = torch.tensor([cluster.memory(d) for d in range(len(cluster))])
        return cls(
            groups=torch.cat([*columns, position, fan, kinds], 1),
            sources=_rows(flow),
            readers=_rows(flow.t()),
            loads=loads,
            memory=state[:, None] / limits,
            speeds=torch.tensor(cluster.speeds) / sum(cluster.speeds),
            granularities=torch.tensor(
                [[float(m), float(c)] for m, c in problem.granularities]
            ).log2()
            / 4,
        )


def _parts(values: Tensor) -> Tensor:
    return values / values.sum().clamp(min=1.0)


def _rows(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1.0)


@dataclass(frozen=True)
class Samples:
    """Choices of a policy, with what REINFORCE needs of them."""

    choices: list[Candidate]
    log_probabilities: Tensor  # (B,)
    entropies: Tensor  # (B,)


class PlacementPolicy(nn.Module):
    """From a problem to choices."""

    def __init__(self, hidden: int = 48, generator: torch.Generator | None = None) -> None:
        """`generator` draws the initial values; None: there are none, they will be loaded."""
        super().__init__()
        with torch.device("meta"):  # no values that the global generator would draw
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
        """PyTorch's own ranges: ±1/√inputs, for an LSTM ±1/√units."""
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
        """The groups of a problem as the policy sees them: (G, H)."""
        h = torch.tanh(self.enter(features.groups))
        for layer in self.rounds:
            around = [h, features.sources @ h, features.readers @ h]
            h = h + torch.tanh(layer(torch.cat(around, 1)))
        return h

    def sample(
        self, features: Features, count: int, generator: torch.Generator | None = None
    ) -> Samples:
        """`count` candidates, drawn with `generator`; without one, the likeliest step by step."""
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
            own = encoded[g].expand(B, -1)
            h, c = self.cell(torch.cat([own, context, chosen], 1), (h, c))
            attention = (self.query(h) @ encoded.t() / encoded.shape[1] ** 0.5).softmax(1)
            context = attention @ encoded
            figures = _device_features(features, g, where, busy, full)  # (B, D, ·)
            both = torch.cat([h, context], 1)[:, None].expand(B, D, -1)
            scores = self.device(torch.cat([both, figures], 2))[..., 0]
            picked, log_picked, entropy_picked = _draw(scores, generator)
            log_p, entropy = log_p + log_picked, entropy + entropy_picked
            where[:, g] = picked
            rows = torch.arange(B)
            chosen = figures[rows, picked]
            busy = busy.index_put((rows, picked), features.loads[g], accumulate=True)
            full = full.index_put((rows, picked), features.memory[g, picked], accumulate=True)
        choices = [
            Candidate(tuple(devices), granularity)
            for devices, granularity in zip(where.tolist(), granularities.tolist(), strict=True)
        ]
        return Samples(choices, log_p, entropy / (G + 1))


def _device_features(
    features: Features, g: int, where: Tensor, busy: Tensor, full: Tensor
) -> Tensor:
    """What the policy knows of each device when it places group g: (B, D, DEVICE_FEATURES)."""
    B, D = busy.shape
    speeds, loads = features.speeds, features.loads
    done = F.one_hot(where[:, :g], D).float()  # (B, g, D)
    incoming = features.sources[g, :g] @ done if g else torch.zeros(B, D)
    last = done[:, -1] if g else torch.zeros(B, D)
    then = (busy + loads[g]) / speeds  # 1: as busy as if all were shared out evenly
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
    """Scores (B, N) → the choice, its log probability, and the entropy, each (B,)."""
    log_p = scores.log_softmax(1)
    p = log_p.exp()
    if generator is None:
        chosen = p.argmax(1)
    else:
        chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
    return chosen, log_p.gather(1, chosen[:, None])[:, 0], -(p * log_p).sum(1)


def rewards_of(search: PlanSearch, choices: list[Candidate]) -> Tensor:
    """-√(step time), as a part of the time on one device; for what does not fit into memory, -√ of
    a time that is worse than that on one device, and the worse the less it fits."""
    alone = search.problem.alone
    found = []
    for choice in choices:
        value = search.value(choice)
        seconds = value.seconds + (0 if value.feasible else alone * (1 + value.overflow))
        found.append(-((seconds / alone) ** 0.5))
    return torch.tensor(found)


def reinforce(
    search: PlanSearch, seed: int, learning: LearningConfig, policy: PlacementPolicy | None = None
) -> PlacementPolicy:
    """Spend the search on a policy's choices, learning from each handful → the policy. One that is
    given continues to learn from where it is."""
    generator = torch.Generator().manual_seed(seed)
    policy = policy or PlacementPolicy(learning.hidden, generator)
    learner = Reinforce(policy.parameters(), learning.learning_rate)
    features = Features.of(search.problem)
    while search.left:
        count = min(learning.samples, search.evaluations - search.used)
        samples = policy.sample(features, count, generator)
        rewards = rewards_of(search, samples.choices)
        weight = learning.entropy * (1 - search.part)
        learner.update(0, samples.log_probabilities, samples.entropies, rewards, weight)
        with torch.no_grad():
            (likeliest,) = policy.sample(features, 1).choices
        if search.left:
            search.value(likeliest)
    return policy


def pretrain(
    problems: list[Problem], updates: int, seed: int, learning: LearningConfig
) -> PlacementPolicy:
    """Learn from many problems in turns, each with a baseline of its own → a policy for problems
    that it has never seen."""
    generator = torch.Generator().manual_seed(seed)
    policy = PlacementPolicy(learning.hidden, generator)
    learner = Reinforce(policy.parameters(), learning.learning_rate)
    searches = [PlanSearch(problem, evaluations=updates * learning.samples) for problem in problems]
    features = [Features.of(problem) for problem in problems]
    for update in range(updates):
        task = update % len(problems)
        samples = policy.sample(features[task], learning.samples, generator)
        rewards = rewards_of(searches[task], samples.choices)
        weight = learning.entropy * (1 - update / updates)
        learner.update(task, samples.log_probabilities, samples.entropies, rewards, weight)
    return policy


def ask(search: PlanSearch, seed: int, policy: PlacementPolicy, samples: int) -> None:
    """Spend the search on what a policy says without learning more: first its likeliest choice,
    then what it draws."""
    generator = torch.Generator().manual_seed(seed)
    features = Features.of(search.problem)
    with torch.no_grad():
        rewards_of(search, policy.sample(features, 1).choices)
        while search.left:
            count = min(samples, search.evaluations - search.used)
            rewards_of(search, policy.sample(features, count, generator).choices)


def save_policy(policy: PlacementPolicy, file: Path) -> None:
    """Write a policy's parameters, as safetensors."""
    save_file(policy.state_dict(), file, {"hidden": str(policy.hidden)})


def load_policy(file: Path) -> PlacementPolicy:
    """Read a policy.

    Raises:
        PlanError: the file is missing, or not a policy.
    """
    try:
        with safe_open(file, "pt") as opened:
            policy = PlacementPolicy(int(opened.metadata()["hidden"]))
            names = opened.keys()  # it is no dictionary
            policy.load_state_dict({name: opened.get_tensor(name) for name in names})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PlanError(
            f"`{file}` must be a policy of `nmt-place mode=pretrain`, but is not: {error}"
        ) from None
    return policy
