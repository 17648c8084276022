"""The time of an optimizer's step: rules against PyTorch's fused Adam, in turns.

python -m tests.benchmarks.rules [--model small] [--threads 2] [--repeats 15]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from torch import nn

from nmt.markdown import markdown_table
from nmt.memory import keep_memory
from nmt.model.build import build_graph
from nmt.rules import KNOWN, read_rule
from nmt.training.rule_optimizer import RuleOptimizer
from tests.benchmarks.ours import training_config

VOCABULARY = 8000


def main() -> None:
    """Print a row for each rule: medians in milliseconds, and the ratio to Adam's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    keep_memory()  # as the commands do
    torch.set_num_threads(options.threads)
    config = training_config([f"model={options.model}"], Path("runs"))
    graph = build_graph(config.model, VOCABULARY)
    parameters = list(graph.build(graph.names, 1).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * 1e-3
    makers = {"fused Adam": torch.optim.AdamW(parameters, 1e-4, fused=True)} | {
        name: RuleOptimizer(parameters, read_rule(name), 1e-4) for name in KNOWN
    }
    seconds = {name: [step_seconds(made, parameters)] for name, made in makers.items()}
    for _ in range(options.repeats):
        for name, made in makers.items():
            seconds[name].append(step_seconds(made, parameters))
    usual = {name: median(values[1:]) for name, values in seconds.items()}
    rows = [
        [name, f"{1e3 * value:.1f}", f"{value / usual['fused Adam']:.2f}", KNOWN.get(name, "")]
        for name, value in usual.items()
    ]
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{options.model}: {count:,} parameters, {options.threads} threads")
    print(markdown_table(["rule", "ms", "ratio", ""], rows))


def step_seconds(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> float:
    """The time of one step of all parameters."""
    assert parameters, "there is something to update"
    begin = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
