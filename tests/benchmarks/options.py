"""What a benchmark is told on its command line, as `key=value` like every command of nmt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

PARTS = ("train", "pipeline", "placement", "decode", "trained", "server", "gpu")

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Options:
    """Settings of a whole run; the defaults are those of a measurement that counts."""

    # Parts to run, separated by commas. Those left out take hours of training.
    only: tuple[str, ...] = tuple(part for part in PARTS if part != "trained")
    models: tuple[str, ...] = ("small", "tiny")  # of train, decode and trained
    model: Path | None = None  # a trained model folder, for decode and server
    seconds: float = 30.0  # least time of one measurement of training
    warm_up: float = 10.0  # seconds of training before it
    repeats: int = 3  # of every measurement; what is compared takes turns
    micro_batches: tuple[int, ...] = (8, 16)  # of a pipeline
    vocabularies: tuple[int, ...] = (8000, 32000)  # of placement
    steps: int = 3  # measured steps of a pipeline, after those that warm up
    epochs: int = 6  # that each toolkit trains, of trained
    # Of the server.
    parts: tuple[str, ...] = ("saturation", "health", "latency", "overload", "continuous", "soak")
    batches: tuple[int, ...] = (64, 16)  # sentences decoded together, of `continuous`
    overload: float = 60.0  # seconds of ten times the capacity, of the server
    soak: float = 600.0  # seconds of mixed load, of the server
    sentences: int = 1000  # of test2016
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")  # of decode and trained
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
