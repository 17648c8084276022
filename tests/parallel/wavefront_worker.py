"""Run by the tests in several processes: random graphs by random plans against one process.

`python wavefront_worker.py <file> <devices> <replicas> <cases> <kind>`; the main process writes a
list of results. All devices are of one kind: cpu, or cuda:0, which processes can share.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch

from nmt.parallel import group
from nmt.parallel.executor import Executor, StepResult
from nmt.run.processes import end_worker
from tests.parallel.random_plans import (
    adam,
    copied,
    distance,
    local,
    random_batch,
    random_graph,
    random_plan,
    sgd,
    wavefront,
)


def trained(executor: Executor, steps: int) -> list[StepResult]:
    """Some steps, with their parameters averaged."""
    results = []
    for step in range(steps):
        results.append(executor.train_step(random_batch(step), step, 0.01))
        executor.update_average(0.5)
    return results


def case(number: int, devices: int, replicas: int, kind: str) -> dict[str, Any]:
    """Some steps both ways, a validation, and a continuation on the other executor."""
    chance = random.Random(number)
    graph = random_graph(chance)
    plan = random_plan(chance, graph, devices, kind)
    dtype = torch.float64 if number % 2 else torch.float32
    optimizer = adam() if number % 4 == 1 else sgd()
    steps = 3 if number % 4 == 1 else 1
    ours = wavefront(graph, plan, optimizer, dtype, replicas)
    results = trained(ours, steps)
    valid = [random_batch(100 + i, rows=i + 1) for i in range(5)]
    loss = ours.validation_loss(valid)
    with ours.using_average():
        average, averaged = copied(ours.gather_parameters()), ours.validation_loss(valid)
    gradients, state = copied(ours.gather_gradients()), copied(ours.state_dict())
    later = ours.train_step(random_batch(50), 50, 0.01).loss
    if not ours.is_main:
        assert not gradients
        assert not state
        return {}
    reference = local(graph, plan.micro_batches * replicas, optimizer, dtype, kind)
    wanted = trained(reference, steps)
    wanted_loss = reference.validation_loss(valid)
    with reference.using_average():
        wanted_averaged = reference.validation_loss(valid)
        average_error = distance(average, reference.gather_parameters())
    found = {
        "case": f"{number}: {plan.model_dump()}",
        "double": dtype == torch.float64,
        "loss": max(abs(a.loss / b.loss - 1) for a, b in zip(results, wanted, strict=True)),
        "norm": max(
            abs(a.gradient_norm / b.gradient_norm - 1) for a, b in zip(results, wanted, strict=True)
        ),
        "gradients": distance(gradients, reference.gather_gradients()),
        "state": distance(state, reference.state_dict()),
        "validation": abs(loss / wanted_loss - 1),
        "average": average_error,
        "validation of the average": abs(averaged / wanted_averaged - 1),
    }
    reference.load_state_dict(state)
    found["later"] = abs(reference.train_step(random_batch(50), 50, 0.01).loss / later - 1)
    return found


def main() -> None:
    """All cases one after the other in the same processes."""
    file, kind = sys.argv[1], sys.argv[5]
    devices, replicas, cases = map(int, sys.argv[2:5])
    torch.set_num_threads(1)
    group.join("gloo")
    found = [case(number, devices, replicas, kind) for number in range(cases)]
    if group.is_main():
        Path(file).write_text(json.dumps(found), encoding="utf-8")
    group.leave()


if __name__ == "__main__":
    main()
    end_worker()
