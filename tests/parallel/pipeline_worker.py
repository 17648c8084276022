"""Run by the tests in several processes: DeepSpeed's executor against the local one.

`python pipeline_worker.py <file>` runs all jobs for its number of processes, since each start takes
seconds. The main process writes what it measured as JSON: job → a list with an entry per case.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nmt.config import GnmtConfig, OptimizerConfig, read
from nmt.errors import ConfigurationError, NmtError
from nmt.model.batch import Batch
from nmt.model.clip import Clip
from nmt.model.gnmt import gnmt
from nmt.model.graph import LayerGraph
from nmt.parallel import group
from nmt.parallel.deepspeed import start
from nmt.parallel.deepspeed_executor import DeepSpeedExecutor
from nmt.parallel.executor import Executor, OptimizerFactory, TrainingRecipe
from nmt.parallel.local import LocalExecutor
from nmt.parallel.world import world
from nmt.placement.plan import Plan, contiguous, single_device
from nmt.run.processes import end_worker
from nmt.training.loss import SmoothedCrossEntropy
from nmt.training.optimizer import optimizer_factory
from tests.cells import ODD
from tests.toy_layers import with_mixtures

VOCABULARY, HIDDEN, SEED = 60, 12, 3
LOSS = SmoothedCrossEntropy(0.1)


@dataclass(frozen=True)
class Case:
    micro_batches: int = 2
    dropout: float = 0.2
    tie: str = "all"
    dtype: torch.dtype = torch.float32
    optimizer: str = "sgd"
    steps: int = 1
    clip_norm: float | None = 0.05  # below the norm, so that clipping matters
    zero: int = 0
    clip: float | None = None
    cell: str = "lstm"
    mixed: bool = False  # with auxiliary losses and other shapes on several stages


def graph_of(case: Case) -> LayerGraph:
    model = GnmtConfig.model_validate(
        {
            "name": "tiny",
            "architecture": "gnmt",
            "cell": case.cell,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "hidden_size": HIDDEN,
            "dropout": case.dropout,
            "embedding_dropout": case.dropout / 2,
            "residual": "full",
            "bidirectional_layers": 1,
            "context": "all",
            "normalisation": "none",
            "attention": "additive",
            "attention_heads": 1,
            "tie": case.tie,
        }
    )
    clip = None if case.clip is None else Clip(case.clip, start=1.0, steps=2)
    graph = gnmt(model, VOCABULARY, clip)
    places = ("source_embedding", "encoder.1", "decoder.0", "decoder.2")
    return with_mixtures(graph, places, HIDDEN) if case.mixed else graph


def batch_of(seed: int, rows: int = 17) -> Batch:
    draw = np.random.default_rng(seed)

    def sentences() -> list[np.ndarray]:
        lengths = draw.integers(1, 9, rows)
        return [draw.integers(4, VOCABULARY, n).astype(np.int32) for n in lengths]

    return Batch.from_rows(sentences(), sentences())


def all_parameters(case: Case) -> dict[str, torch.nn.Parameter]:
    graph = graph_of(case)
    return graph.build(graph.names, SEED).canonical_parameters()


def factory(name: str) -> OptimizerFactory:
    if name == "sgd":
        return lambda parameters: torch.optim.SGD(parameters, lr=1.0)
    if name == "adam":
        return lambda ours: torch.optim.AdamW(ours, lr=1.0, weight_decay=0.01, fused=True)
    values: dict[str, Any] = {"name": name, "learning_rate": 0.1, "epsilon": 1e-9}
    values["betas"] = [0.9, 0.98]
    values |= {"rule": "adam" if name == "rule" else None, "weight_decay": 0.0, "clip_norm": None}
    return optimizer_factory(read(OptimizerConfig, values))


def recipe_of(case: Case) -> TrainingRecipe:
    return TrainingRecipe(
        graph=graph_of(case),
        seed=SEED,
        loss=LOSS,
        validation_loss=SmoothedCrossEntropy(0.0),
        optimizer=factory(case.optimizer),
        clip_norm=case.clip_norm,
        dtype=case.dtype,
    )


def local(case: Case, replicas: int) -> LocalExecutor:
    return LocalExecutor(recipe_of(case), "cpu", case.micro_batches * replicas)


def piped(case: Case, replicas: int, stages: int, plan: Plan | None = None) -> DeepSpeedExecutor:
    recipe = recipe_of(case)
    graph = recipe.graph
    costs = dict.fromkeys(graph.names, 1.0)
    even = contiguous(graph.name, costs, ["cpu"] * stages, case.micro_batches)
    return DeepSpeedExecutor(recipe, plan or even, "cpu", replicas, case.zero, keep_gradients=True)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest distance of two tensors of the same name, relative to the second one's norm."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    return max(float((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-30)) for n in b)


def train(executor: Executor, first: int, count: int) -> list[tuple[float, float, int]]:
    """Loss, gradient norm and tokens of some steps; their parameters are averaged."""
    results = []
    for i in range(first, first + count):
        results.append(executor.train_step(batch_of(i), i, 0.01))
        executor.update_average(0.5)
    return [(r.loss, r.gradient_norm, r.tokens) for r in results]


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


def compare(case: Case, replicas: int, stages: int) -> dict[str, Any]:
    """Train some steps both ways, and validate."""
    ours = piped(case, replicas, stages)
    initial = copied(ours.gather_parameters())
    results = train(ours, 0, case.steps)
    valid = [batch_of(100 + i, rows=i + 1) for i in range(3)]
    validation = ours.validation_loss(valid)
    gradients, parameters = copied(ours.gather_gradients()), copied(ours.gather_parameters())
    with ours.using_average():
        average, averaged = copied(ours.gather_parameters()), ours.validation_loss(valid)
    given = {name: torch.full_like(p, 0.01) for name, p in all_parameters(case).items()}
    with ours.using(given):
        with_given = ours.validation_loss(valid)
    unchanged = equal(ours.gather_parameters(), parameters)
    again = ours.train_step(batch_of(50), case.steps, 0.01).loss  # training goes on after it
    if not ours.is_main:
        assert not gradients, "gradients are gathered on the main process only"
        return {}
    reference = local(case, replicas)
    initial_error = distance(initial, reference.gather_parameters())
    wanted = train(reference, 0, case.steps)
    errors = np.abs(np.array(results) / np.array(wanted) - 1).max(axis=0)
    wanted_validation = reference.validation_loss(valid)
    gradient_error = distance(gradients, reference.gather_gradients())
    parameter_error = distance(parameters, reference.gather_parameters())
    with reference.using_average():
        average_error = distance(average, reference.gather_parameters())
        wanted_averaged = reference.validation_loss(valid)
    with reference.using(given):
        wanted_with_given = reference.validation_loss(valid)
    wanted_again = reference.train_step(batch_of(50), case.steps, 0.01).loss
    return {
        "case": str(case),
        "double": case.dtype == torch.float64,
        "initial": initial_error,
        "loss": errors[0],
        "norm": errors[1],
        "tokens": errors[2],
        "gradients": gradient_error,
        "parameters": parameter_error,
        "validation": abs(validation / wanted_validation - 1),
        "average": average_error,
        "validation of the average": abs(averaged / wanted_averaged - 1),
        "validation of given weights": abs(with_given / wanted_with_given - 1),
        "unchanged": unchanged,
        "later": abs(again / wanted_again - 1),
        "clipped": wanted[0][1] / (case.clip_norm or np.inf),
    }


def equality(stages: int) -> list[dict[str, Any]]:
    """All numbers of micro-batches, in fp32, and in fp64 over several steps of Adam."""
    cases = [
        Case(micro_batches=m, dropout=dropout, tie=tie)
        for m in (1, 2, 8)
        for dropout in (0.0, 0.2)
        for tie in ("none", "all")
    ]
    cases += [Case(tie="target"), Case(clip_norm=None), Case(micro_batches=3, clip_norm=100.0)]
    cases += [Case(cell="gru", micro_batches=4, clip=0.1), Case(cell=ODD, micro_batches=4)]
    cases += [Case(mixed=True, micro_batches=m, clip_norm=None) for m in (1, 4)]
    cases += [Case(clip=0.01, steps=3), Case(clip=0.01, tie="none", steps=3, micro_batches=4)]
    cases += [
        Case(micro_batches=m, dtype=torch.float64, optimizer="adam", steps=3) for m in (1, 2, 8)
    ]
    return [compare(case, 1, stages) for case in cases]


def sharding(replicas: int, stages: int) -> list[dict[str, Any]]:
    """Data parallel replicas, with and without ZeRO."""
    cases = [
        Case(),
        Case(mixed=True, micro_batches=3),
        Case(zero=1),
        Case(zero=1, tie="none", steps=2, micro_batches=3),
    ]
    return [compare(case, replicas, stages) for case in cases]


def bf16(replicas: int, stages: int) -> list[dict[str, Any]]:
    """bf16 with fp32 parameters behind it."""
    case = Case(dtype=torch.bfloat16, zero=replicas - 1, steps=2)
    return [
        compare(case, replicas, stages),
        compare(replace(case, mixed=True, cell="gru"), replicas, stages),
    ]


def resumed(case: Case, replicas: int, stages: int) -> dict[str, Any]:
    """local → deepspeed → local, against an uninterrupted run; and deepspeed twice from there."""
    reference = local(case, replicas)
    train(reference, 0, 2)
    state = copied(reference.state_dict())
    ours = piped(case, replicas, stages)
    train(ours, 7, 1)  # leaves a state that must be forgotten
    ours.load_state_dict(state)
    there = copied(ours.state_dict())
    undisturbed = train(ours, 2, 2)
    after = copied(ours.state_dict())
    again = piped(case, replicas, stages)
    again.load_state_dict(state)
    repeated = train(again, 2, 2)
    after_again = again.state_dict()
    if not ours.is_main:
        assert not there
        assert not after
        return {}
    back = local(case, replicas)
    back.load_state_dict(there)
    train(back, 2, 2)
    train(reference, 2, 2)
    return {
        "case": str(case),
        "optimizer": case.optimizer,
        "through": equal(there, state),
        "back": equal(back.state_dict(), reference.state_dict()),
        "resumed": undisturbed == repeated and equal(after, after_again),
        "keys": after.keys() == state.keys(),
        "fields": sorted({key.split("/")[1] for key in after if key.startswith("optimizer/")}),
    }


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in b)


def states(replicas: int, stages: int) -> list[dict[str, Any]]:
    """States go from executor to executor unchanged."""
    cases = [Case(optimizer=name) for name in ("adam", "adagrad", "adafactor", "rule")]
    # DeepSpeed hands these over as one flat vector.
    cases += [Case(optimizer=n, zero=1, dtype=torch.bfloat16) for n in ("adam", "adagrad", "rule")]
    if replicas > 1:
        cases.append(Case(optimizer="adam", zero=1))
    return [resumed(case, replicas, stages) for case in cases]


def message(call: Callable[[], object]) -> str:
    """What the call raises."""
    try:
        call()
    except NmtError as error:
        return str(error)
    return ""


def broken(call: Callable[[], object]) -> str:
    """What a call raises on the main process, whose own part of the work is in order."""
    try:
        return message(call)
    except ZeroDivisionError:
        return "on the other process"


def talking() -> list[dict[str, Any]]:
    """What cannot be run, and what processes tell one another."""

    def fail() -> None:
        raise NmtError("only the main process knows")

    def fail_on_one(own: Sequence[int]) -> list[int]:
        if 2 in own:
            raise NmtError("the second process cannot")
        return list(own)

    def break_on_one(own: Sequence[int]) -> list[float]:
        return [1 / (2 - n) for n in own]

    def two_mistakes() -> None:
        raise ConfigurationError(["the first", "the second"])

    executor = piped(Case(), 1, 2)
    graph = graph_of(Case())
    wrong = dict.fromkeys(graph.names, 0) | {graph.names[0]: 1}
    scattered = Plan(graph=graph.name, devices=["cpu", "cpu"], placement=wrong)
    other = single_device("another", graph.names, "cpu")
    return [
        {
            "processes": message(lambda: piped(Case(), 1, 3)),
            "bf16": message(lambda: piped(Case(dtype=torch.bfloat16), 2, 1)),
            "scattered": message(lambda: piped(Case(), 1, 2, scattered)),
            "other": message(lambda: piped(Case(), 1, 1, other)),
            "from_main": group.from_main(lambda: {"value": 3}),
            "failing": message(lambda: group.from_main(fail)),
            "shared": executor.distribute(
                list(range(7)), lambda own: [(n, world().rank) for n in own]
            ),
            "failing share": message(lambda: executor.distribute([1, 2], fail_on_one)),
            "broken share": broken(lambda: executor.distribute([1, 2], break_on_one)),
            "both mistakes": message(lambda: executor.from_main(two_mistakes)),
        }
    ]


JOBS: dict[int, dict[str, Callable[[], list[dict[str, Any]]]]] = {
    1: {"equality": partial(equality, 1)},
    2: {
        "equality": partial(equality, 2),
        "sharding": partial(sharding, 2, 1),
        "bf16 replicas": partial(bf16, 2, 1),
        "bf16 stages": partial(bf16, 1, 2),
        "states": partial(states, 1, 2),
        "states of replicas": partial(states, 2, 1),
        "talking": talking,
    },
    3: {"equality": partial(equality, 3)},
    4: {"sharding": partial(sharding, 2, 2)},
}


def main() -> None:
    start("cpu")
    results = {name: job() for name, job in JOBS[world().size].items()}
    if group.is_main():
        Path(sys.argv[1]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
    end_worker()
