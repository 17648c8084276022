"""Options of benchmarks on the command line, as `key=value` like the settings of nmt's commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

PARTS = ("train", "pipeline", "placement", "decode", "trained", "server", "gpu")

PEERS = ("marian", "joey", "ctranslate2")  # the last one: decode

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Options:
    """Options of a whole run. The defaults are those of published results."""

    # Parts to run, separated by commas. By default all but one, which takes hours of training.
    only: tuple[str, ...] = tuple(part for part in PARTS if part != "trained")
    models: tuple[str, ...] = ("small", "tiny")  # train, decode, trained: files of conf/model
    model: Path | None = None  # decode, server: folder of a trained model
    seconds: float = 30.0  # shortest measurement of training and of the server
    warm_up: float = 10.0  # seconds of training before a measurement
    repeats: int = 3  # of every measurement; the sides of a comparison take turns
    micro_batches: tuple[int, ...] = (8, 16)  # pipeline
    vocabularies: tuple[int, ...] = (8000, 32000)  # placement: sizes
    steps: int = 3  # pipeline, placement: timed steps after the warm-up
    epochs: int = 6  # trained: epochs of training for each toolkit
    # server: parts to run
    parts: tuple[str, ...] = ("saturation", "health", "latency", "overload", "continuous", "soak")
    batches: tuple[int, ...] = (64, 16)  # server, `continuous`: sentences decoded together
    overload: float = 60.0  # server: seconds of ten times the load that it can handle
    soak: float = 600.0  # server: seconds of mixed load
    sentences: int = 1000  # of test2016, from its start
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")  # decode, trained
    threads: tuple[int, ...] = (1, 2)  # decode, trained
    peers: tuple[str, ...] = PEERS  # toolkits to measure beside ours; no: none
    venv: Path = Path(".bench-venv")  # environment of the peers, made if missing
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
    """Read options from command line arguments.

    Raises:
        SystemExit: an argument is not valid; the message says why.
    """
    kinds, values = get_type_hints(kind), {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in kinds:
            raise SystemExit(f"`{argument}` must be <key>=<value> with one of {', '.join(kinds)}.")
        try:
            values[key] = READERS[kinds[key]](text)
        except (ValueError, KeyError):
            raise SystemExit(f"`{key}` has an invalid value, {text!r}.") from None
    try:
        return kind(**values)
    except TypeError as error:
        raise SystemExit(f"An option is missing: {error}.") from None
