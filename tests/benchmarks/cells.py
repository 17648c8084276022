"""The time of a recurrent layer forward and backward: cells of one's own against PyTorch's LSTM and
GRU, in turns.

python -m tests.benchmarks.cells [--threads 1] [--repeats 9]
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from nmt.kernels import cell as kernel
from nmt.markdown import markdown_table
from nmt.memory import keep_memory
from nmt.model.cells import recurrent_layer
from nmt.model.context import EVALUATION
from nmt.model.recurrent import RecurrentLayer
from nmt.rules.cells import KNOWN_CELLS
from tests.cells import ODD

SIZES = ((128, 40, 13), (256, 100, 14), (512, 100, 14))  # units, sentences, time steps


def main() -> None:
    """Print a row for each size and cell: medians in milliseconds, and the ratio to the LSTM's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    cells = {"LSTM": "lstm", "GRU": "gru"}
    cells |= {f"{name} as text": text for name, text in KNOWN_CELLS.items()}
    cells["4 and 3 products, 20 operations"] = ODD
    rows = []
    for units, sentences, steps in SIZES:
        layers = {
            name: recurrent_layer(cell)("layer", units, units, 0.0, 0, 1)
            for name, cell in cells.items()
        }
        x = torch.randn(sentences, steps, units)
        seconds = measured(layers, x, options.repeats)
        compiled = kernel.compiled_cell
        try:
            kernel.compiled_cell = lambda _: None  # type: ignore[assignment]
            slow = measured(layers, x, options.repeats)
        finally:
            kernel.compiled_cell = compiled
        for name, value in seconds.items():
            ratio, without = value / seconds["LSTM"], slow[name] / seconds["LSTM"]
            own = "" if cells[name] in KNOWN_CELLS else f"{without:.2f}"
            size = f"{units}, {sentences} × {steps}"
            rows.append([size, name, f"{1e3 * value:.1f}", f"{ratio:.2f}", own])
    print(markdown_table(["size", "cell", "ms", "of the LSTM's", "without a compiler"], rows))


def measured(layers: dict[str, RecurrentLayer], x: torch.Tensor, repeats: int) -> dict[str, float]:
    """The median time of each layer."""
    seconds: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(repeats + 1):
        for name, layer in layers.items():
            given = x.clone().requires_grad_()
            begin = time.perf_counter()
            layer([given], (), EVALUATION).value.sum().backward()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median(values[1:]) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
