"""Joey NMT for comparison: training and decoding with its recurrent models, by its own commands.

Like Marian, it reads the same pieces as our model, written as numbers.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import yaml

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

RELEASE = "joeynmt==2.3.0"
PEER = f"Joey NMT ({RELEASE})"
# Its dependencies; the releases that it requires do not support Python 3.11.
NEEDS = (
    *("tensorboard", "sacrebleu", "sacremoses", "sentencepiece", "subword-nmt", "pyyaml"),
    *("packaging", "matplotlib", "seaborn", "plotly", "pandas", "datasets", "tqdm", "setuptools"),
    "importlib_metadata",
)
SPEED = re.compile(r"Tokens per Sec:\s+([\d.]+)")
DURATION = re.compile(r"Generation took ([\d.]+)\[sec\]")
LOGGED = 5  # updates between two lines of the log
TRAINED = 20  # training updates before decoding at a fixed length
BATCH = 64  # sentences of a batch


class JoeyNmt:
    """Runs Joey NMT on our data, with its files in `folder`."""

    def __init__(self, venv: Path, folder: Path, data: PreparedData) -> None:
        self._python, self._folder = install(venv, RELEASE, NEEDS, "joeynmt"), folder
        self.commands: list[str] = []  # all commands that were run
        self._trained: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        (store,) = data.train.values()
        self._sentences = len(store)
        few = range(0, len(store), max(1, len(store) // 64))
        for name, rows in (("train", range(len(store))), ("dev", few)):
            write_rows(folder / f"{name}.source", (store.source(i) for i in rows))
            write_rows(folder / f"{name}.target", (store.target(i) for i in rows))
        # Its four special words come first.
        words = ["<unk>", "<pad>", "<s>", "</s>", *map(str, range(4, len(data.vocabulary)))]
        (folder / "vocabulary.txt").write_text("\n".join(words) + "\n", "utf-8")

    def tokens_per_second(
        self, model: str, seconds: float, warm_up: float, seed: int, threads: int
    ) -> float:
        """Target tokens per second of training, EOS included, as Joey NMT counts them itself."""
        process = self._start("train", self._config(model, model, seed=seed), threads)
        assert process.stdout is not None
        tokens, begin, last = 0.0, None, time.perf_counter()
        first = last
        try:
            for line in process.stdout:
                if not (match := SPEED.search(line)):
                    continue
                now = time.perf_counter()
                if begin is None:
                    begin = now if now - first >= warm_up else None
                else:
                    tokens += float(match[1]) * (now - last)
                    if now - begin >= seconds:
                        return tokens / (now - begin)
                last = now
        finally:
            stop(process)
        raise RuntimeError(f"Joey NMT stopped by itself; try `{self.commands[-1]}`.")

    def output_tokens_per_second(
        self,
        model: str,
        source: Iterable[Sequence[int]],
        beam: int,
        threads: int,
        length: int,
    ) -> float:
        """Output tokens per second of decoding with almost untrained weights, on the assumption
        that all translations have `length` pieces: an upper bound. Greedy search does reach that
        length, but beam search may stop earlier in spite of `min_output_length`. The printed pieces
        cannot be counted instead: a printed hypothesis may have ended before the search did, and
        special pieces are not printed."""
        if model not in self._trained:
            self._run("train", self._config(model, model, updates=TRAINED), threads)
            self._trained.add(model)
        translated = self._translate(model, model, source, beam, threads, length)
        return length * len(translated.pieces) / translated.seconds

    def train(self, model: str, epochs: int, threads: int) -> None:
        """Train a model for `translate`, unless an earlier run has trained it."""
        name = f"{model}.trained"
        if not (self._folder / name / "best.ckpt").exists():
            # Joey NMT requires a multiple of LOGGED.
            updates = LOGGED * ceil(epochs * self._sentences / BATCH / LOGGED)
            self._run("train", self._config(model, name, updates=updates), threads)

    def translate(
        self, model: str, source: Iterable[Sequence[int]], beam: int, threads: int
    ) -> Translated:
        """Translate with the model that `train` made."""
        return self._translate(model, f"{model}.trained", source, beam, threads, -1)

    def _translate(
        self,
        model: str,
        name: str,
        source: Iterable[Sequence[int]],
        beam: int,
        threads: int,
        length: int,
    ) -> Translated:
        write_rows(self._folder / "test.source", source)
        file = self._config(model, name, beam=beam, length=length, test=True)
        output = self._folder / "output"
        log = self._run("test", file, threads, "--output-path", str(output))
        durations = DURATION.findall(log)
        assert durations, "Joey NMT logs the duration of decoding"
        return Translated(read_rows(output.with_name("output.test")), float(durations[-1]))

    def _config(
        self,
        model: str,
        name: str,
        *,
        seed: int = 1,
        updates: int | None = None,
        beam: int = 1,
        length: int = 20,
        test: bool = False,
    ) -> Path:
        layers, units = SIZES[model]
        side = {"level": "word", "voc_file": str(self._folder / "vocabulary.txt")}
        embeddings = {"embedding_dim": units, "dropout": 0.2}
        recurrent = {
            "type": "recurrent",
            "rnn_type": "lstm",
            "hidden_size": units,
            "num_layers": layers,
            "dropout": 0.2,
            "embeddings": embeddings,
        }
        values: dict[str, Any] = {
            "name": name,
            "use_cuda": False,
            "random_seed": seed,
            "model_dir": str(self._folder / name),
            "data": {
                "src": {"lang": "source", **side},
                "trg": {"lang": "target", **side},
                "dataset_type": "plain",
            },
            "training": {
                "batch_size": BATCH,
                "batch_type": "sentence",
                "optimizer": "adam",
                "learning_rate": 0.002,
                "scheduling": "warmupinversesquareroot",
                "learning_rate_warmup": 400,
                "clip_grad_norm": 1.0,
                "label_smoothing": 0.1,
                "epochs": 1000,
                "logging_freq": LOGGED,
                "validation_freq": updates or 1_000_000,
                "overwrite": True,
                "keep_best_ckpts": 1,
                **({"updates": updates} if updates else {}),
            },
            "testing": {
                "beam_size": beam,
                "beam_alpha": 1.0,
                "min_output_length": max(1, length),
                "max_output_length": length,
                "batch_size": BATCH,
            },
            "model": {
                "initializer": "xavier_uniform",
                # Its encoder must be bidirectional; both directions are as wide as our layers.
                "encoder": {**recurrent, "hidden_size": units // 2, "bidirectional": True},
                "decoder": {
                    **recurrent,
                    "attention": "bahdanau",
                    "input_feeding": False,
                    "init_hidden": "bridge",
                    "hidden_dropout": 0.2,
                },
            },
        }
        if test:
            values["data"]["test"] = str(self._folder / "test")
        else:
            values["data"] |= {
                "train": str(self._folder / "train"),
                "dev": str(self._folder / "dev"),
            }
        file = self._folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(values), "utf-8")
        return file

    def _start(self, mode: str, file: Path, threads: int, *more: str) -> subprocess.Popen[str]:
        command = [str(self._python), "-m", "joeynmt", mode, str(file), "--skip-test", *more]
        self.commands.append(" ".join(command))
        return start(command, threads)

    def _run(self, mode: str, file: Path, threads: int, *more: str) -> str:
        return output_of(self._start(mode, file, threads, *more))
