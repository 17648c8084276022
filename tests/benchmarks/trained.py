"""Translating test2016 with models that each toolkit has trained itself, with the same sizes,
pieces and number of epochs on Multi30k. Since translations end by themselves, BLEU and their length
are reported beside the speed.

Models of an earlier run are reused, since training takes hours on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from nmt import Translator
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import NmtError
from nmt.evaluation.bleu import score
from nmt.memory import keep_memory
from nmt.model.folder import DESCRIPTION
from nmt.precision.bf16 import require_bf16
from tests.benchmarks import joey as joey_nmt
from tests.benchmarks.decode import BEAMS, decode_settings
from tests.benchmarks.joey import JoeyNmt
from tests.benchmarks.marian import KINDS, PEER, Marian
from tests.benchmarks.options import Options
from tests.benchmarks.ours import (
    CONDITIONS,
    batches_of,
    in_new_process,
    prepared,
    test2016,
    training_config,
)
from tests.benchmarks.peers import Translated
from tests.benchmarks.results import Report

BATCH = 64  # sentences of a training step
CANDIDATES = 50  # translations of each piece in the shortlist
UNIT = "output tokens/s"


@dataclass(frozen=True)
class Run:
    """One translation of the whole test set."""

    texts: list[str]
    tokens: int  # output tokens, EOS included
    seconds: float


def run(options: Options, report: Report) -> None:
    """Measure all toolkits in turns, for each model, search and number of threads."""
    data = prepared(training_config(batches_of(BATCH), options.output / "scratch"))
    vocabulary, test = data.vocabulary, test2016(options.sentences)
    sources = vocabulary.encode_batch(test[0])
    peers, folder = options.peers, options.output
    marian = Marian(options.venv, folder / "marian", data) if "marian" in peers else None
    joey = JoeyNmt(options.venv, folder / "joey", data) if "joey" in peers else None
    for model in options.models:
        folder = trained(options, model)
        if marian:
            marian.train(model, options.epochs)
        if joey:
            joey.train(model, options.epochs, max(options.threads))
        for search, beam in BEAMS.items():
            for threads in options.threads:
                kinds = _ours(options, folder, search, threads, test[0])
                work = (model, sources, beam, threads)
                if marian:
                    for kind in KINDS:
                        translate = partial(marian.translate, *work, kind)
                        kinds[f"Marian {kind}"] = partial(_read, translate, vocabulary)
                if joey:
                    kinds["Joey NMT"] = partial(_read, partial(joey.translate, *work), vocabulary)
                _measure(options, report, f"{model}.{search}.{threads}threads", kinds, test[1])


def trained(options: Options, model: str) -> Path:
    """Our model folder in int8 with a shortlist, trained unless an earlier run has made it."""
    folder = (options.output / "ours" / model).absolute()
    exported = folder / "int8"
    if not (exported / DESCRIPTION).exists():
        command = [
            *("nmt.train", f"runs={folder.parent}", f"name={model}", f"model={model}"),
            *(*CONDITIONS, *batches_of(BATCH), f"precision={_training_precision()}"),
            *(f"training.max_epochs={options.epochs}", "training.validate_every=1000"),
            f"parallel.threads={max(options.threads)}",
        ]
        shortlist = ["data=multi30k", f"shortlist.candidates={CANDIDATES}"]
        export = ["nmt.export", f"folder={folder / 'best'}", f"output={exported}", *shortlist]
        for arguments in (command, export):
            subprocess.run([sys.executable, "-m", *arguments], check=True)
    return exported


def _training_precision() -> str:
    try:
        require_bf16("cpu", emulate=False)
    except NmtError:
        return "fp32"
    return "bf16"


def _ours(
    options: Options, folder: Path, search: str, threads: int, texts: list[str]
) -> dict[str, Callable[[], Run]]:
    kinds: dict[str, Callable[[], Run]] = {}
    for precision in options.precisions:
        for shortlist in (False, True):
            name = f"{precision} with a shortlist" if shortlist else precision
            work = (folder, search, texts, precision, threads, shortlist)
            kinds[name] = partial(in_new_process, translated, *work)
    return kinds


def translated(
    folder: Path, search: str, texts: list[str], precision: Any, threads: int, shortlist: bool
) -> Run:
    """Translate with our model."""
    keep_memory()  # as the commands do
    translator = Translator.load(folder, device="cpu", threads=threads, precision=precision)
    decode = decode_settings(search).model_copy(update={"shortlist": shortlist})
    translator.translate(texts, decode)  # warm-up: oneDNN generates code for each new shape
    begin = time.perf_counter()
    translations = translator.translate(texts, decode)
    seconds = time.perf_counter() - begin
    tokens = sum(len(translation.tokens) + 1 for translation in translations)
    return Run([translation.text for translation in translations], tokens, seconds)


def _read(translate: Callable[[], Translated], vocabulary: Vocabulary) -> Run:
    result = translate()
    texts = [vocabulary.decode(row) for row in result.pieces]
    return Run(texts, sum(len(row) + 1 for row in result.pieces), result.seconds)


def _measure(
    options: Options,
    report: Report,
    name: str,
    kinds: dict[str, Callable[[], Run]],
    references: Sequence[str],
) -> None:
    """Run all kinds in turns, and report them."""
    runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for kind, translate in kinds.items():
            runs[kind].append(translate())
    speeds = {kind: [run.tokens / run.seconds for run in repeats] for kind, repeats in runs.items()}
    marian = {kind: values for kind, values in speeds.items() if kind.startswith("Marian")}
    best = max(marian, key=lambda kind: median(marian[kind]), default="")
    for kind, values in speeds.items():
        first = runs[kind][0]
        bleu = score(first.texts, list(references), bootstrap=0, seed=1)["bleu"].score
        report.notes.append(
            f"{name}, {kind}: BLEU {bleu:.2f}, {first.tokens / len(first.texts):.1f} pieces a "
            f"sentence, {len(first.texts) / first.seconds:.1f} sentences/s"
        )
        if kind in marian or kind == "Joey NMT":
            continue
        row = f"trained.{name}.{kind.replace(' with a ', '.')}"
        report.add(row, UNIT, values, f"{PEER}, {best}", marian.get(best, []))
        if "Joey NMT" in speeds:
            report.add(f"{row}.joey", UNIT, values, joey_nmt.PEER, speeds["Joey NMT"])
