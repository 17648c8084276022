"""CTranslate2 for comparison: Transformers with random weights that decode to a fixed length, on as
many sentences of as many pieces as our models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import install

RELEASE = "ctranslate2==4.8.5"
PEER = RELEASE
PROGRAM = Path(__file__).with_name("ctranslate_program.py")
# Our model → the layers (of encoder and decoder each) and units of Transformers that a user would
# take instead.
SIZES = {"tiny": ((3, 256), (4, 256)), "small": ((6, 512),)}
FORMATS = {"fp32": "fp32", "int8": "int8"}  # ours → CTranslate2's


class CTranslate2:
    """Runs CTranslate2 in the peers' environment, with its models in `folder`."""

    def __init__(self, venv: Path, folder: Path, vocabulary: int) -> None:
        self._python = install(venv, RELEASE, (), "ctranslate2")
        self._folder, self._vocabulary = folder.absolute(), vocabulary
        folder.mkdir(parents=True, exist_ok=True)

    def tokens_per_second(
        self,
        size: tuple[int, int],
        number_format: str,
        sources: Sequence[Sequence[int]],
        beam: int,
        length: int,
        workers: int,
    ) -> float:
        """Output tokens per second on all sources, with workers of one thread each."""
        with self._loaded(size, number_format, workers) as ask:
            found = ask(translate=_words(sources), beam=beam, length=length)
        return float(found["tokens"] / found["seconds"])

    def milliseconds(
        self,
        size: tuple[int, int],
        number_format: str,
        sources: Sequence[Sequence[int]],
        beam: int,
        length: int,
    ) -> float:
        """The median latency of a single sentence with one thread."""
        with self._loaded(size, number_format, 1) as ask:
            return float(ask(alone=_words(sources), beam=beam, length=length)["milliseconds"])

    @contextmanager
    def _loaded(self, size: tuple[int, int], number_format: str, workers: int) -> Iterator[Any]:
        model = self._folder / f"{size[0]}x{size[1]}"
        with subprocess.Popen(
            [str(self._python), str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def ask(**request: Any) -> dict[str, Any]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise RuntimeError("CTranslate2 failed; its message is above.")
                return dict(json.loads(answer))

            if not (model / "model.bin").exists():
                model.mkdir(parents=True, exist_ok=True)
                ask(make=str(model), layers=size[0], width=size[1], vocabulary=self._vocabulary)
            ask(load=str(model), workers=workers, format=FORMATS[number_format])
            try:
                yield ask
            finally:
                assert process.stdin is not None
                process.stdin.close()


def _words(sources: Sequence[Sequence[int]]) -> list[list[str]]:
    """Pieces as words of the models' vocabulary; each sentence ends as in ours."""
    return [[*map(str, row), "</s>"] for row in sources]
