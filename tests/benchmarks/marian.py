"""Marian for comparison: training and decoding, in an environment of its own.

It reads the same pieces as our model, written as numbers with a vocabulary of numbers, so that both
have the same sentences, the same vocabulary and the same number of tokens.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nmt.corpus.prepare import PreparedData
from tests.benchmarks.peers import (
    SIZES,
    Translated,
    install,
    output_of,
    read_rows,
    start,
    stop,
    write_rows,
)

RELEASE = "pymarian==1.12.42"
PEER = f"marian ({RELEASE}, a build for any x86-64 processor)"
MODEL = "model.npz"
FINISHED = "finished"  # file beside a model whose training has finished
# Formats of matrix products. Converting to int8 beforehand (`convert --gemm-type intgemm8`) is not
# faster, and breaks models with LSTMs (marian-dev's issue 832).
KINDS = {"fp32": (), "int8": ("--gemm-type", "packed8")}
END = 0  # Marian's </s>
LABELS = re.compile(r"after ([\d,]+) : Time ([\d.]+)s")
WALL = re.compile(r"Total time: ([\d.]+)s wall")

# The settings of our training. (Marian's first decoder layer has two cells with attention between
# them; its upper layers do not read the context. Its threads train asynchronously, each on batches
# of 64, which is its default and avoids waiting.)
RECIPE = """
    --type s2s --enc-type bi-unidirectional --enc-cell lstm --dec-cell lstm --skip
    --mini-batch 64 --maxi-batch 1000 --maxi-batch-sort trg --max-length 1000
    --dropout-rnn 0.2 --label-smoothing 0.1 --clip-norm 1 --cost-type ce-sum
    --optimizer adam --optimizer-params 0.9 0.98 1e-9 --learn-rate 0.002
    --cpu-threads 2 --disp-freq 2u --workspace 3000 --sigterm exit-immediately --overwrite
"""
SCHEDULE = "--lr-warmup 400 --lr-decay-inv-sqrt 400"  # of a complete training run
BATCHES = "--mini-batch 64 --maxi-batch 100 --maxi-batch-sort src"
FIXED = ("--max-length-factor", "1")
USUAL = ("--normalize", "0.6")  # a search by log probability alone prefers short translations


class Marian:
    """Runs Marian on our data, with its files in `folder`."""

    def __init__(self, venv: Path, folder: Path, data: PreparedData) -> None:
        python = install(venv, RELEASE, (), "pymarian")
        self._program, self._folder = python.with_name("pymarian"), folder
        self.commands: list[str] = []  # all commands that were run
        self._fixed: dict[str, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        (store,) = data.train.values()
        self._write("train.source", (store.source(i) for i in range(len(store))))
        self._write("train.target", (store.target(i) for i in range(len(store))))
        entries = [f'"{i}": {i}\n' for i in range(2, len(data.vocabulary))]
        (folder / "vocabulary.yml").write_text("</s>: 0\n<unk>: 1\n" + "".join(entries), "utf-8")

    def tokens_per_second(self, model: str, seconds: float, warm_up: float, seed: int) -> float:
        """Target tokens per second of training, EOS included, as Marian counts them itself."""
        waited = counted = 0.0
        first = None
        for tokens, duration in self._progress(model, ["--seed", str(seed)]):
            if first is None:
                waited += duration
                first = tokens if waited >= warm_up else None
                continue
            counted += duration
            if counted >= seconds:
                return (tokens - first) / counted
        raise RuntimeError(f"Marian stopped by itself; try `{self.commands[-1]}`.")

    def output_tokens_per_second(
        self, model: str, source: Iterable[Sequence[int]], beam: int, threads: int, kind: str
    ) -> float:
        """Output tokens per second of decoding with almost untrained weights, with which every
        translation is as long as the longest source of its batch. Loading the model is not
        counted."""
        file = self._fixed_length_model(model)
        translated = self._translate(file, source, beam, threads, (*KINDS[kind], *FIXED))
        return sum(len(row) for row in translated.pieces) / translated.seconds

    def train(self, model: str, epochs: int) -> None:
        """Train a model for `translate`, unless an earlier run has trained it."""
        folder = self._folder / f"{model}.trained"
        if not (folder / FINISHED).exists():
            arguments = ["--after", f"{epochs}e", "--seed", "1", *SCHEDULE.split()]
            self._run([*self._training(model, folder), *arguments])
            (folder / FINISHED).touch()

    def translate(
        self, model: str, source: Iterable[Sequence[int]], beam: int, threads: int, kind: str
    ) -> Translated:
        """Translate with the model that `train` made, in fp32 or int8."""
        file = self._folder / f"{model}.trained" / MODEL
        return self._translate(file, source, beam, threads, (*KINDS[kind], *USUAL))

    def _translate(
        self,
        file: Path,
        source: Iterable[Sequence[int]],
        beam: int,
        threads: int,
        more: Sequence[str],
    ) -> Translated:
        self._write("test.source", source)
        source_file, output_file = self._folder / "test.source", self._folder / "test.output"
        arguments = [*self._vocabularies(), *BATCHES.split(), *more, "--beam-size", str(beam)]
        arguments += ["--cpu-threads", str(threads)]
        files = ["--models", str(file), "--input", str(source_file), "--output", str(output_file)]
        output = self._run(["decode", *files, *arguments])
        match = WALL.search(output)
        assert match, "Marian logs the duration of decoding"
        return Translated(read_rows(output_file), float(match[1]))

    def _fixed_length_model(self, model: str) -> Path:
        """A model after one update that never ends a sentence."""
        if model not in self._fixed:
            folder = self._folder / model
            self._run([*self._training(model, folder), "--after", "1u"])
            weights = dict(np.load(folder / MODEL))
            weights["decoder_ff_logit_l2_b"][..., END] = -1e4
            self._fixed[model] = folder / "fixed_length.npz"
            np.savez(self._fixed[model], **weights)
        return self._fixed[model]

    def _progress(self, model: str, arguments: Sequence[str]) -> Iterator[tuple[int, float]]:
        """(Tokens so far, seconds since the line before) for each line of the log."""
        process = self._start([*self._training(model, self._folder / model), *arguments])
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := LABELS.search(line):
                    yield int(match[1].replace(",", "")), float(match[2])
        finally:
            stop(process)

    def _training(self, model: str, folder: Path) -> list[str]:
        layers, units = SIZES[model]
        shutil.rmtree(folder, ignore_errors=True)  # Marian would resume an earlier run
        folder.mkdir()
        sets = [str(self._folder / f"train.{side}") for side in ("source", "target")]
        return [
            *("train", "--train-sets", *sets, *self._vocabularies(), *RECIPE.split()),
            *("--enc-depth", str(layers), "--dec-depth", str(layers)),
            *("--dim-emb", str(units), "--dim-rnn", str(units)),
            *("--model", str(folder / MODEL), "--tempdir", str(folder)),
        ]

    def _vocabularies(self) -> list[str]:
        return ["--vocabs", *[str(self._folder / "vocabulary.yml")] * 2]

    def _write(self, name: str, rows: Iterable[Iterable[int]]) -> None:
        write_rows(self._folder / name, rows)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        command = [str(self._program), *arguments]
        self.commands.append(" ".join(command))
        return start(command)

    def _run(self, arguments: Sequence[str]) -> str:
        return output_of(self._start(arguments))
