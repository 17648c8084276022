"""Speed of libraries for the matrix products of a decoding step on this processor.

    python -m tests.benchmarks.products threads=1 repeats=20

The products are those of an LSTM layer of the 4+4×512 model (1536 inputs, 2048 outputs) and of its
output layer (512, 8000), for one hypothesis, for five, and for 64 sentences with beam size 5. ONNX
Runtime, OpenVINO and torchao, which the project does not use, are measured if they are installed
(`pip install onnxruntime onnx openvino torchao`). `torch.compile` needs a C++ compiler, and takes
several seconds for each shape.
"""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.memory import keep_memory
from nmt.precision.formats import FloatFormat, Int8Format
from tests.benchmarks.options import read_options

SHAPES = ((320, 1536, 2048), (5, 1536, 2048), (1, 1536, 2048), (320, 512, 8000))  # rows, in, out
Product = Callable[[], Any]


@dataclass(frozen=True)
class Settings:
    """Options on the command line."""

    threads: int = 1
    repeats: int = 20


def candidates(rows: int, inputs: int, outputs: int) -> Iterator[tuple[str, Product]]:
    """The name and a function of each product that can be measured here."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(rows, inputs, generator=generator) * 2 - 1
    weight = torch.randn(outputs, inputs, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    half = [value.bfloat16() for value in (x, weight, bias)]
    yield "fp32, F.linear (MKL)", lambda: F.linear(x, weight, bias)
    yield "bf16, F.linear (oneDNN)", lambda: F.linear(*half)
    for name, form in (
        ("fp32, oneDNN, packed", FloatFormat(torch.float32)),
        ("bf16, oneDNN, packed", FloatFormat(torch.bfloat16)),
        ("int8, oneDNN, packed, back to fp32", Int8Format()),
    ):
        linear = form.linear(weight, bias, [(inputs, 1.0)])
        codes = form.encode(x, 1.0)
        yield name, partial(linear, codes)
    values = (x * 127).to(torch.int8), (weight * 20).clamp(-127, 127).to(torch.int8).t()
    yield "int8, torch._int_mm, sums only", lambda: torch._int_mm(*values)
    yield "int8, quantize_dynamic (deprecated)", _quantize_dynamic(x, weight, bias)
    if shutil.which("g++"):
        yield "bf16, torch.compile, max-autotune", _compiled(_linear(*half[1:]), half[0])
        if find_spec("torchao"):
            yield "int8, torchao, torch.compile", _torchao(x, weight, bias)
    if find_spec("onnxruntime") and find_spec("onnx"):
        yield "int8, ONNX Runtime, dynamic", _onnx(x, weight)
    if find_spec("openvino"):
        for kind in ("f32", "bf16"):
            yield f"{kind}, OpenVINO", _openvino(x, weight, kind)


def _quantize_dynamic(x: Tensor, weight: Tensor, bias: Tensor) -> Product:
    linear = _linear(weight, bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(linear), {torch.nn.Linear}, torch.qint8
        )
    return lambda: quantized(x)


def _linear(weight: Tensor, bias: Tensor) -> torch.nn.Linear:
    outputs, inputs = weight.shape
    linear = torch.nn.Linear(inputs, outputs, dtype=weight.dtype).requires_grad_(False)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear


def _compiled(module: torch.nn.Module, x: Tensor) -> Product:
    import torch._inductor.config as settings

    settings.freezing = True  # weights are laid out once
    torch._dynamo.reset()
    compiled = torch.compile(module, mode="max-autotune-no-cudagraphs")
    return lambda: compiled(x)


def _torchao(x: Tensor, weight: Tensor, bias: Tensor) -> Product:
    from torchao.quantization import (  # type: ignore[import-not-found]
        Int8DynamicActivationInt8WeightConfig,
        quantize_,
    )

    module = torch.nn.Sequential(_linear(weight, bias))
    quantize_(module, Int8DynamicActivationInt8WeightConfig())
    return _compiled(module, x)


def _onnx(x: Tensor, weight: Tensor) -> Product:
    import onnxruntime  # type: ignore[import-not-found]
    from onnx import TensorProto, helper, numpy_helper  # type: ignore[import-not-found]

    values = (weight.t() * 20).clamp(-127, 127).to(torch.int8).numpy()
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [x.shape[0], weight.shape[0]])],
        [numpy_helper.from_array(np.ascontiguousarray(values), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    given = {"x": x.numpy()}
    return lambda: session.run(None, given)


def _openvino(x: Tensor, weight: Tensor, kind: str) -> Product:
    import openvino  # type: ignore[import-not-found]
    from openvino import opset13 as ops

    given = ops.parameter(list(x.shape), np.float32)
    product = ops.matmul(given, ops.constant(weight.numpy()), False, True)
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": kind,
    }
    model = openvino.Model([product], [given], "product")
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request, values = compiled.create_infer_request(), x.numpy()
    return lambda: request.infer([values], share_inputs=True, share_outputs=True)


def microseconds(product: Product, repeats: int) -> float:
    """The median duration of a product over `repeats` measurements, each of at least 2 ms."""
    product()
    begin = time.perf_counter()
    product()
    count = max(1, int(2e-3 / (time.perf_counter() - begin)))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(count):
            product()
        times.append((time.perf_counter() - begin) / count)
    return 1e6 * median(times)


def main() -> None:
    """Print a Markdown table of microseconds and of billions of operations per second."""
    settings = read_options(Settings, sys.argv[1:])
    torch.set_num_threads(settings.threads)
    keep_memory()
    table: dict[str, list[str]] = {}
    with torch.inference_mode():
        for R, K, N in SHAPES:
            for name, product in candidates(R, K, N):
                duration = microseconds(product, settings.repeats)
                rate = 2 * R * K * N / duration / 1000
                table.setdefault(name, []).append(f"{duration:.0f} µs, {rate:.0f} G/s")
    print("| | " + " | ".join(f"{R}×{K}→{N}" for R, K, N in SHAPES) + " |")
    print("|---" * (1 + len(SHAPES)) + "|")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
