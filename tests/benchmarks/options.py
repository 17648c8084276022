"""What a benchmark is told on its command line, as `key=value` like every command of nmt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

PARTS = ("train", "pipeline", "placement", "decode", "server", "gpu")

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Options:
    """Settings of a whole run; the defaults are those of a measurement that counts."""

    only: tuple[str, ...] = PARTS  # parts to run, separated by commas
    models: tuple[str, ...] = ("small", "tiny")  # of train and decode
    model: Path | None = None  # a trained model folder, for decode and server
    seconds: float = 30.0  # least time of one measurement of training
    warm_up: float = 10.0  # seconds of training before it
    repeats: int = 3  # of every measurement; what is compared takes turns
    micro_batches: tuple[int, ...] = (8, 16)  # of a pipeline
    vocabularies: tuple[int, ...] = (8000, 32000)  # of placement
    steps: int = 3  # measured steps of a pipeline, after those that warm up
    # Of the server.
    parts: tuple[str, ...] = ("saturation", "health", "latency", "overload", "continuous", "soak")
    batches: tuple[int, ...] = (64, 16)  # sentences decoded together, of `continuous`
    overload: float = 60.0  # seconds of ten times the capacity, of the server
    soak: float = 600.0  # seconds of mixed load, of the server
    sentences: int = 1000  # of test2016
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")  # of decode
    threads: tuple[int, ...] = (1, 2)  # likewise
    peers: bool = True  # measure Marian and Joey NMT too
    venv: Path = Path(".bench-venv")  # their environment, made when it is not there
    output: Path = Path("runs/bench")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _switch(text: str) -> bool:
    return {"yes": True, "no": False}[text]


READERS: dict[Any, Callable[[str], Any]] = {
    tuple[str, ...]: _words,
    tuple[int, ...]: _numbers,
    Path: Path,
    Path | None: Path,
    float: float,
    int: int,
    bool: _switch,
}


def read_options(kind: type[Settings], arguments: Sequence[str]) -> Settings:
    """Raises SystemExit, with a sentence, at a mistake."""
    kinds, values = get_type_hints(kind), {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in kinds:
            raise SystemExit(f"`{argument}` must be <key>=<value> with one of {', '.join(kinds)}.")
        try:
            values[key] = READERS[kinds[key]](text)
        except (ValueError, KeyError):
            raise SystemExit(f"`{key}` must be another kind of value than {text!r}.") from None
    try:
        return kind(**values)
    except TypeError as error:
        raise SystemExit(f"A value is missing: {error}.") from None
