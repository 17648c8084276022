"""Training what a search has found elsewhere: on another corpus, with another size, for longer.

The runs are whole ones, with the settings of the command line. Those of the search itself that its
findings need (`search.fixed`) come before them, the finding's own settings too; settings with
several values on the command line, such as `seed=1,2,3`, give a run each.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nmt.config import SearchConfig, TrainConfig
from nmt.corpus.lines import read_parallel
from nmt.errors import ConfigurationError, NmtError
from nmt.files import replacing
from nmt.markdown import markdown_table
from nmt.run.job import JOB, TrainJob, now, save_job
from nmt.run.sweep import folder_name
from nmt.search.child import Child, Record, result_of
from nmt.search.correlation import rank_correlation
from nmt.search.history import read_events, read_identity
from nmt.search.page import TRANSFERS, read_csv, show_transfers
from nmt.search.search import Workers, as_record
from nmt.search.space import quoted

logger = logging.getLogger(__name__)

TEST = "test.json"  # in a run's folder: its score on the test set
HEAD = ("run", "finding", "loss_in_search", "corpus", "model", "settings", "steps", "minutes",
        "loss", "bleu", "test_set", "test_bleu")  # fmt: skip

Whole = Callable[..., TrainConfig]  # lists of overrides → a run's configuration


@dataclass(frozen=True)
class Finding:
    """A child of a search whose settings are trained."""

    name: str
    record: Record

    def overrides(self, paths: Sequence[str]) -> list[str]:
        """Its settings as on a command line."""
        return [f"{path}={quoted(self.record.values[path])}" for path in paths]


def transfer(
    search: SearchConfig,
    place: Sequence[str],
    settings: Sequence[str],
    sweeps: Sequence[Sequence[str]],
    whole: Whole,
    pool: Workers,
) -> None:
    """Train the findings of `search.transfer.search`, and write what came of it into its folder.

    Raises:
        NmtError: there is no such search, or no run can be trained.
    """
    if search.transfer.search is None:
        raise ConfigurationError(
            ["`search.transfer.search` must be the folder of a search, but is null instead."]
        )
    source = Path(search.transfer.search)
    identity = read_identity(source)
    paths = sorted(identity["space"], key=lambda path: "." in path)
    found = findings(source, search)
    base = whole(identity["fixed"], settings, place, found[0].overrides(paths))
    test = search.transfer.test
    if test is not None and test not in base.data.splits:
        raise ConfigurationError(
            [
                f"`search.transfer.test` must be one of {', '.join(base.data.splits)}, but is "
                f"{test} instead."
            ]
        )
    children: list[tuple[Finding, str, Child]] = []
    for finding in found:
        for combination in product(*sweeps):
            own = folder_name(combination) if combination else "run"
            name = f"name={quoted(f'{base.name}/{finding.name}-{own}')}"
            given = (
                identity["fixed"], finding.overrides(paths), settings, list(combination), place,
                [name],
            )  # fmt: skip
            config = whole(*given)
            number = len(children) + 1
            overrides = tuple(one for some in given for one in some)
            child = Child(number, finding.record.point, finding.record.values, overrides, config)
            children.append((finding, " ".join(combination), child))
    _train([child for _, _, child in children], pool)
    rows = [
        _row(finding, combination, child.config, test) for finding, combination, child in children
    ]
    _keep(source / TRANSFERS, [row for row in rows if row is not None])
    show_transfers(source)
    print(summary(source), flush=True)


def findings(folder: Path, search: SearchConfig) -> list[Finding]:
    """What is trained: starting points and the best children, or children from the best to the
    worst.

    Raises:
        ConfigurationError: no child of the search has trained to its end.
    """
    records = [as_record(event) for event in read_events(folder) if event["event"] == "end"]
    whole = sorted((one for one in records if one.is_whole), key=lambda one: one.loss or 0)
    if not whole:
        raise ConfigurationError([f"No child of `{folder}` has trained to its end yet."])
    settings = search.transfer
    count = min(settings.best, len(whole))
    chosen = whole[:count]
    if settings.spread:
        step = (len(whole) - 1) / max(1, count - 1)
        chosen = [whole[round(i * step)] for i in range(count)]
    starts = (
        [one for one in records if one.start and one.loss is not None] if settings.start else []
    )
    numbers = dict.fromkeys(one.number for one in (*starts, *chosen))
    by_number = {one.number: one for one in records}
    return [
        Finding(f"{'start' if by_number[n].start else 'child'}-{n:04d}", by_number[n])
        for n in numbers
    ]


def _train(children: Sequence[Child], pool: Workers) -> None:
    """Train those that have not ended yet."""
    waiting = [child for child in children if result_of(child.folder) is None]
    folders = {child.number: child.folder for child in waiting}
    count = len(waiting)
    failed = 0
    logger.info("%d runs, of which %d have ended", len(children), len(children) - count)
    with pool:
        while waiting or pool.running:
            while waiting and not pool.is_full:
                child = waiting.pop(0)
                child.folder.mkdir(parents=True, exist_ok=True)
                save_job(TrainJob(config=child.config, started=now()), child.folder / JOB)
                logger.info("training begins in %s", child.folder)
                pool.start(child, math.inf)
            for ended in pool.wait(1.0):
                folder = folders.pop(ended.number)
                place = f"{count - len(folders)} of {count}"
                if ended.error:
                    failed += 1
                    logger.warning("%s: %s has failed: %s", place, folder, ended.error)
                else:
                    logger.info("%s: %s, %.1f min", place, folder, ended.seconds / 60)
    if failed and failed == count:
        raise NmtError("Every run has failed; see the messages above and the runs' child.log.")


def _row(
    finding: Finding, combination: str, config: TrainConfig, test: str | None
) -> list[str] | None:
    result = result_of(config.folder)
    if result is None:
        return None
    scores = list(result.validation.values())
    bleus = [one["bleu"] for one in scores if one.get("bleu") is not None]
    return [
        str(config.folder),
        finding.name,
        f"{finding.record.loss:.4f}",
        config.data.name,
        config.model.summary,
        combination,
        str(result.steps),
        f"{result.seconds / 60:.1f}",
        f"{fmean(one['loss'] for one in scores):.4f}",
        f"{fmean(bleus):.2f}" if bleus else "",
        test or "",
        "" if test is None else f"{test_bleu(config, test):.2f}",
    ]


def test_bleu(config: TrainConfig, test: str) -> float:
    """The BLEU of a run's best model on a test set; computed once."""
    from nmt.decoding.translator import Translator
    from nmt.evaluation import bleu
    from nmt.evaluation.tokenizers import bleu_tokenizer

    file = config.folder / TEST
    if file.exists():
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if values.get("test") == test:
            return float(values["bleu"])
    corpus = config.data.splits[test]
    pairs = list(read_parallel(corpus))
    translator = Translator.load(config.folder / "best", device=config.parallel.device)
    found = translator.translate([source for source, _ in pairs], config.decode)
    tokenizer = bleu_tokenizer(config.training.bleu_tokenizer, corpus.direction.target)
    scores = bleu.score(
        [one.text for one in found], [target for _, target in pairs],
        bootstrap=0, seed=0, metrics=("bleu",), tokenizer=tokenizer,
    )  # fmt: skip
    values = {"test": test, "bleu": scores["bleu"].score, "signature": scores["bleu"].signature}
    with replacing(file) as unfinished:
        unfinished.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return float(values["bleu"])


def _keep(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Add rows to those of earlier transfers; of one run, the last one counts."""
    known = {row[0]: row for row in (*read_csv(file)[1:], *rows)}
    with (
        replacing(file) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as opened,
    ):
        writer = csv.writer(opened)
        writer.writerow(HEAD)
        writer.writerows(known.values())


def summary(folder: Path) -> str:
    """A line for each finding in each setting, with mean and spread over its runs, and how well the
    search's losses predict the scores."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in read_csv(folder / TRANSFERS)[1:]:
        one = dict(zip(HEAD, row, strict=True))
        unseeded = " ".join(w for w in one["settings"].split() if not w.startswith("seed="))
        key = (one["finding"], one["corpus"], one["model"], unseeded, one["loss_in_search"])
        groups.setdefault(key, []).append(one)
    rows = [
        [
            *key[:4],
            key[4],
            str(len(some)),
            *(
                spread([one[name] for one in some])
                for name in ("steps", "loss", "bleu", "test_bleu")
            ),
        ]
        for key, some in groups.items()
    ]
    head = ["finding", "corpus", "model", "settings", "loss in search", "runs", "steps", "loss"]
    text = markdown_table([*head, "BLEU", "test BLEU"], rows)
    return "\n".join([text, *_correlations(groups)])


def _correlations(groups: dict[tuple[str, ...], list[dict[str, str]]]) -> list[str]:
    lines = []
    for name in ("loss", "bleu", "test_bleu"):
        pairs = [
            (-float(key[4]), fmean(float(one[name]) for one in some))
            for key, some in groups.items()
            if all(one[name] for one in some)
        ]
        if len(pairs) >= 4:
            rewards, scores = [one for one, _ in pairs], [two for _, two in pairs]
            sign = -1 if name == "loss" else 1
            found = rank_correlation(rewards, [sign * one for one in scores])
            lines.append(
                f"Rank correlation of the reward with {name.replace('_', ' ')}: {found:.2f} "
                f"({len(pairs)} points)"
            )
    return ["", *lines] if lines else []


def spread(values: Sequence[str]) -> str:
    """Mean ± standard deviation of numbers; the number itself if there is one."""
    numbers = [float(one) for one in values if one]
    if not numbers:
        return ""
    digits = 0 if all(one == int(one) for one in numbers) else 2
    mean = f"{fmean(numbers):.{digits}f}"
    return mean if len(numbers) == 1 else f"{mean} ± {stdev(numbers):.{digits}f}"
