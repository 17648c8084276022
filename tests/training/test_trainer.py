"""Whole runs of models that are too small to learn anything, in this process."""

import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from nmt.config import TrainConfig, read
from nmt.corpus.prepare import prepare
from nmt.decoding.translator import Translator
from nmt.errors import CheckpointError, PlanError, TrainingError
from nmt.model.batch import Batch
from nmt.model.folder import read_description
from nmt.parallel.executor import StepResult
from nmt.parallel.local import LocalExecutor, mean_loss
from nmt.placement.plan import Plan
from nmt.run.folder import lock
from nmt.run.result import RunResult
from nmt.train import train
from nmt.training import trainer as trainer_module
from nmt.training.checkpoint import Checkpoints, Progress
from nmt.training.loss import SmoothedCrossEntropy
from nmt.training.validation import validation_batches

MakeConfig = Callable[..., TrainConfig]
CLOCK = {"seconds", "tokens_per_second", "recent_seconds"}


def metrics(config: TrainConfig, kind: str | None = None) -> list[dict[str, Any]]:
    text = (config.folder / "metrics.jsonl").read_text(encoding="utf-8")
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def summary(config: TrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(
        (config.folder / "summary.json").read_text(encoding="utf-8")
    )
    return values


def checkpoints(config: TrainConfig) -> Checkpoints:
    return Checkpoints(config.folder / "checkpoints", keep=1)


def steps(config: TrainConfig) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoints(config).all()]


def last(config: TrainConfig) -> tuple[Progress, dict[str, Tensor]]:
    return checkpoints(config).read(checkpoints(config).all()[-1])


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def outcome(config: TrainConfig) -> dict[str, Any]:
    """Everything that a run leaves behind, without what the clock says."""
    progress, _ = last(config)
    return {
        "progress": {k: v for k, v in vars(progress).items() if k not in CLOCK},
        "metrics": [{k: v for k, v in line.items() if k not in CLOCK} for line in metrics(config)],
        "summary": {
            k: v for k, v in summary(config).items() if k not in {*CLOCK, "name", "folder", "best"}
        },
        "checkpoints": steps(config),
    }


def assert_same_run(a: TrainConfig, b: TrainConfig) -> None:
    assert outcome(a) == outcome(b)
    assert same(last(a)[1], last(b)[1])
    weights = [load_file(config.folder / "best" / "model.safetensors") for config in (a, b)]
    assert same(*weights)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make training stop in the middle of a step, once."""
    original = LocalExecutor.train_step
    at: set[int] = set()

    def train_step(
        self: LocalExecutor, batch: Batch, step: int, learning_rate: float, done: float
    ) -> StepResult:
        result = original(self, batch, step, learning_rate, done)
        if step in at:
            at.remove(step)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(LocalExecutor, "train_step", train_step)
    return at.add


# What a run leaves


def test_a_run_folder(through: TrainConfig) -> None:
    config = through
    names = {path.name for path in config.folder.iterdir()}
    assert names == {
        "best",
        "checkpoints",
        "config.yaml",
        "metrics.jsonl",
        "plan.json",
        "run.json",
        "summary.json",
        "tensorboard",
        "train.log",
        "vocabulary.model",
    }
    saved = yaml.safe_load((config.folder / "config.yaml").read_text(encoding="utf-8"))
    assert read(TrainConfig, saved) == config
    plan = Plan.load(config.folder / "plan.json")
    assert plan.devices == ["cpu"]
    assert steps(config) == [15, 20, 24]

    lines = metrics(config, "train")
    assert [line["step"] for line in lines] == list(range(1, 25))
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([0.0005, 0.001, 0.0015, *[0.002] * 21])
    assert all(line["loss"] > 0 < line["gradient_norm"] for line in lines)
    tokens = [line["target_tokens"] for line in lines]
    assert tokens == sorted(tokens)
    validations = metrics(config, "validation")
    assert [line["step"] for line in validations] == [6, 12, 18, 24]
    assert {line["valid.sentences"] for line in validations} == {3}
    assert validations[0]["bleu_signature"].startswith("nrefs:1|case:mixed|")
    for line in validations:
        assert all(line[metric] == line[f"valid.{metric}"] for metric in ("loss", "bleu", "chrf"))

    found = summary(config)
    assert found["steps"] == 24
    assert found["target_tokens"] == tokens[-1]
    assert found["epochs"] == pytest.approx(24 * 16 / 3000, abs=1e-3)
    assert found["best_score"] == min(line["loss"] for line in validations)
    best = max(validations, key=lambda line: -line["loss"])
    assert found["validation"] == {
        "valid": {
            "direction": "digits-words",
            "sentences": 3,
            **{metric: best[metric] for metric in ("loss", "bleu", "chrf", "perplexity")},
        }
    }
    assert found["best"] == str(config.folder / "best")
    assert found["tokens_per_second"] == pytest.approx(tokens[-1] / found["seconds"])


def test_the_best_model_is_a_complete_folder(through: TrainConfig, tmp_path: Path) -> None:
    best = through.folder / "best"
    names = ["README.md", "SHA256SUMS", "model.safetensors", "model.yaml", "vocabulary.model"]
    assert sorted(path.name for path in best.iterdir()) == names
    elsewhere = Path(shutil.copytree(best, tmp_path / "elsewhere"))
    translator = Translator.load(elsewhere)
    assert list(map(str, translator.directions)) == ["digits→words"]
    assert len(translator.translate(["123", ""])) == 2

    card = (elsewhere / "README.md").read_text(encoding="utf-8")
    count = sum(w.numel() for w in load_file(elsewhere / "model.safetensors").values())
    for expected in (
        "# Translation digits→words",
        "A GNMT model (tiny: 2 encoder and 2 decoder LSTM layers of 8 units, "
        f"{count:,} parameters) with a joint SentencePiece vocabulary of 330 pieces.",
        "| digits | digits→words | 3,000 of 3,000 |",
        "24 steps, 0.1 epochs,",
        "seed 1, precision fp32.",
        "| valid | digits→words | 3 | ",
        "- BLEU: `nrefs:1|case:mixed|",
    ):
        assert expected in card


def test_no_pickle_is_written(through: TrainConfig) -> None:
    files = [path for path in through.folder.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if "tfevents" not in path.name} - {""}  # SHA256SUMS
    assert kinds == {".safetensors", ".json", ".jsonl", ".yaml", ".model", ".md", ".log"}
    assert not [path for path in files if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04")]


def test_a_run_can_be_repeated(small: MakeConfig, through: TrainConfig) -> None:
    again, other = small(), small("name=other", "seed=2")
    train(again)
    train(other)
    assert_same_run(through, again)
    assert not same(last(other)[1], last(through)[1])


# Interrupted and resumed


@pytest.mark.parametrize("step", [0, 5, 6, 11, 23])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    small: MakeConfig, through: TrainConfig, interrupt_at: Callable[[int], None], step: int
) -> None:
    broken = small()
    interrupt_at(step)
    with pytest.raises(KeyboardInterrupt):
        train(broken)
    train(broken)
    assert_same_run(through, broken)


@pytest.mark.parametrize(
    ("what", "before"),
    [
        ("write_candidate", False),
        ("score_sets", True),
        ("publish", True),
        ("publish", False),
        ("discard", False),
        ("save", True),
    ],
)
def test_interrupted_while_validating(
    small: MakeConfig,
    through: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    before: bool,
) -> None:
    broken = small()
    if what == "discard":  # needs a run that does not become better
        change = ["optimizer.learning_rate=1.0"]
        through, broken = (small(f"name={name}", *change) for name in "ab")
        train(through)
    place: Any = RunResult if what == "save" else trainer_module
    original: Callable[..., object] = getattr(place, what)

    def stopping(*arguments: object) -> None:
        if not before:
            original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, what, stopping)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    train(broken)
    assert_same_run(through, broken)


@pytest.mark.parametrize("before", [True, False])
def test_interrupted_while_writing_a_checkpoint(
    small: MakeConfig, through: TrainConfig, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    broken = small()
    original = Path.replace

    def stopping(self: Path, target: Path) -> Path:
        if self.name != "step-00000010.new":
            return original(self, target)
        if not before:
            original(self, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    assert steps(broken) == ([5] if before else [5, 10])
    train(broken)
    assert_same_run(through, broken)


def test_the_mean_loss_of_a_line_of_metrics_survives(
    small: MakeConfig, interrupt_at: Callable[[int], None]
) -> None:
    through, broken = (small("training.log_every=4", f"name={name}") for name in "ab")
    train(through)
    interrupt_at(6)  # the checkpoint at step 5 is between two lines
    with pytest.raises(KeyboardInterrupt):
        train(broken)
    train(broken)
    assert_same_run(through, broken)


def test_a_run_in_several_parts_equals_one(small: MakeConfig, through: TrainConfig) -> None:
    for limit in (6, 12, 18, 24):  # where there is a validation anyway
        part = small(f"training.max_steps={limit}")
        train(part)
        assert last(part)[0].step == limit
    assert outcome(part)["metrics"] == outcome(through)["metrics"]
    assert same(last(part)[1], last(through)[1])
    best = [load_file(c.folder / "best" / "model.safetensors") for c in (through, part)]
    assert same(*best)


@pytest.mark.parametrize("kind", ["none", "checkpoints", "weights"])
def test_a_finished_run_stays_as_it_is(small: MakeConfig, kind: str) -> None:
    config = small(f"training.average.kind={kind}")
    train(config)
    before, weights = outcome(config), load_file(config.folder / "best" / "model.safetensors")
    train(config)
    assert outcome(config) == before
    assert same(load_file(config.folder / "best" / "model.safetensors"), weights)


def test_time_is_counted_over_all_parts(
    small: MakeConfig, interrupt_at: Callable[[int], None]
) -> None:
    config = small()
    interrupt_at(12)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    before = last(config)[0].seconds
    train(config)
    assert 0 < before < last(config)[0].seconds <= summary(config)["seconds"]
    seconds = [line["seconds"] for line in metrics(config, "train")]
    assert seconds == sorted(seconds)


# Refused


def refused(config: TrainConfig) -> str:
    """The message; the run's folder must stay as it is."""

    def snapshot() -> dict[Path, bytes]:
        files = [path for path in config.folder.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    before = snapshot()
    with pytest.raises(CheckpointError) as raised:
        train(config)
    assert snapshot() == before, "a refused run must change nothing"
    return str(raised.value)


@pytest.fixture
def started(small: MakeConfig) -> TrainConfig:
    config = small("training.max_steps=6")
    train(config)
    return config


def test_never_on_a_run_that_exists(small: MakeConfig, started: TrainConfig) -> None:
    assert refused(small("resume=never")) == (
        f"`resume=never` needs a new run, but `{started.folder}` has `checkpoints`; "
        "choose another `name`, or delete the folder."
    )


def test_never_on_a_run_without_checkpoints(small: MakeConfig) -> None:
    config = small("resume=never")
    (config.folder / "best").mkdir(parents=True)
    assert "has `best`;" in refused(config)


def test_never_on_a_new_run(small: MakeConfig) -> None:
    train(small("resume=never", "training.max_steps=1"))


def test_must_on_a_new_run(small: MakeConfig) -> None:
    config = small("resume=must")
    assert refused(config) == (
        f"`resume=must` needs a checkpoint in `{config.folder}`, but there is none; "
        "start with `resume=auto`."
    )
    assert not config.folder.exists()


def test_must_on_a_run_that_exists(small: MakeConfig, started: TrainConfig) -> None:
    train(small("resume=must"))
    assert last(started)[0].step == 24


@pytest.mark.parametrize(
    ("change", "before", "now"),
    [
        ("model.hidden_size=16", "`model.hidden_size` was 8", "is 16"),
        ("seed=2", "`seed` was 1", "is 2"),
        ("optimizer=sgd", '`optimizer.name` was "adam"', 'is "sgd"'),
        ("data.vocabulary.size=320", "`data.vocabulary.size` was 330", "is 320"),
        (
            "training.average.kind=none",
            '`training.average.kind` was "weights"',
            'is "none"',
        ),
    ],
)
def test_another_run_s_checkpoint(
    small: MakeConfig, started: TrainConfig, change: str, before: str, now: str
) -> None:
    message = refused(small(change))
    assert message.startswith(
        f"The run in `{started.folder}` can only be resumed with the settings"
    )
    assert f"{before}, {now}" in message
    assert message.endswith("; restore them, or choose another `name` for a new run.")


@pytest.mark.usefixtures("started")
def test_other_batches(small: MakeConfig) -> None:
    message = refused(small("data.batch.sentences=8"))
    assert "but `data.batch.sentences` was 16, is 8; restore them" in message


@pytest.mark.parametrize("name", ["progress.json", "state.safetensors"])
def test_a_damaged_checkpoint(
    small: MakeConfig, through: TrainConfig, started: TrainConfig, name: str
) -> None:
    (folder,) = [path for path in checkpoints(started).all() if path.name == "step-00000006"]
    (folder / name).write_bytes(b"{")
    train(small())
    assert_same_run(through, started)
    assert (folder.parent / "damaged-step-00000006" / name).read_bytes() == b"{"


def test_a_new_run_in_an_old_folder_has_its_own_vocabulary(
    small: MakeConfig, interrupt_at: Callable[[int], None]
) -> None:
    """A run that was stopped between its first validation and its first checkpoint."""
    interrupt_at(7)
    with pytest.raises(KeyboardInterrupt):
        train(small("training.checkpoint_every=20"))
    config = small("data.vocabulary.size=320")
    train(config)
    Translator.load(config.folder / "best")


# When a run ends, and with what


def test_patience(small: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    never_better = ["training.best_by=bleu", "training.patience=2", "decode.max_length_offset=1"]
    config = small(*never_better, "optimizer.learning_rate=1.0e-30")
    with caplog.at_level(logging.INFO):
        train(config)
    assert [line["step"] for line in metrics(config, "validation")] == [6, 12, 18]
    found = summary(config)
    assert (found["steps"], found["best_by"]) == (18, "bleu")
    assert found["best_step"] == 18, "the last of equals"
    assert found["ended_by"] == "training.patience"
    assert (
        "early stopping at step 18: bleu has not improved in 2 validations "
        "(`training.patience=2`); the best model is that of step 18"
    ) in caplog.messages
    (warning,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith("bleu has been 0 in 3 validations in a row, so it cannot choose")
    assert "set `training.bleu_tokenizer` to one for the target language" in warning
    before = outcome(config)
    train(config)
    assert outcome(config) == before, "a run that has ended has ended"


def test_a_limit_of_passes(small: MakeConfig) -> None:
    config = small("training.max_steps=null", "training.max_epochs=0.05")
    train(config)
    assert summary(config)["steps"] == 10
    assert summary(config)["epochs"] == pytest.approx(0.05, abs=0.006)


def test_a_limit_of_time(small: MakeConfig) -> None:
    config = small("training.max_minutes=0.000001")
    train(config)
    assert summary(config)["steps"] == 0
    Translator.load(config.folder / "best")


def test_several_validation_sets(small: MakeConfig) -> None:
    config = small("training.average.kind=none", "training.max_steps=12")
    corpus = config.data.valid["valid"]
    test = config.data.test["test"]
    config = config.changed(
        data={"valid": {"dev": corpus, "held.out": test}}, training={"best_by": "held.out.loss"}
    )
    train(config)
    lines = metrics(config, "validation")
    for line in lines:
        for metric in ("loss", "bleu", "chrf"):
            each = [line[f"dev.{metric}"], line[f"held.out.{metric}"]]
            assert line[metric] == pytest.approx(sum(each) / 2)
    assert lines[0]["dev.loss"] != lines[0]["held.out.loss"]
    found = summary(config)
    assert found["best_score"] == min(line["held.out.loss"] for line in lines)
    assert list(found["validation"]) == ["dev", "held.out"]
    card = (config.folder / "best" / "README.md").read_text(encoding="utf-8")
    for name, scores in found["validation"].items():
        assert f"| {name} | digits→words | 3 | {scores['bleu']:.2f} | " in card
    alone = small("training.average.kind=none", "training.max_steps=12", "name=alone")
    train(alone)
    assert [line["loss"] for line in metrics(alone, "validation")] == [
        line["dev.loss"] for line in lines
    ]


def test_the_first_validation_can_be_later(small: MakeConfig) -> None:
    config = small("training.validate_first=13")
    train(config)
    assert [line["step"] for line in metrics(config, "validation")] == [18, 24]


@pytest.mark.parametrize(
    ("limit", "changes", "validated", "kept"),
    [
        (8, [], [6, 8], [5, 8]),
        (10, [], [6, 10], [5, 10]),
        (4, [], [4], [4]),
        (5, ["training.validate_first=100"], [5], [5]),
    ],
)
def test_the_last_weights_are_validated(
    small: MakeConfig, limit: int, changes: list[str], validated: list[int], kept: list[int]
) -> None:
    config = small(f"training.max_steps={limit}", *changes)
    train(config)
    assert [line["step"] for line in metrics(config, "validation")] == validated
    assert steps(config) == kept
    assert (config.folder / "best" / "model.safetensors").exists()
    train(config)
    assert [line["step"] for line in metrics(config, "validation")] == validated


@pytest.mark.parametrize("kind", ["weights", "checkpoints", "none"])
def test_the_loss_is_that_of_the_weights_that_are_kept(small: MakeConfig, kind: str) -> None:
    config = small(f"training.average.kind={kind}", "optimizer.learning_rate=0.02")
    train(config)
    best = config.folder / "best"
    description = read_description(best)
    graph = description.graph()
    stack = graph.build(graph.names, seed=9)
    stack.load(load_file(best / "model.safetensors"))
    data = prepare(config.data, config.seed)
    loss = mean_loss(
        stack, validation_batches(data.valid["valid"]), SmoothedCrossEntropy(0.0), "cpu"
    )
    losses = [line["loss"] for line in metrics(config, "validation")]
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_a_run_that_diverges_ends_with_a_sentence(
    small: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        LocalExecutor,
        "train_step",
        lambda _, batch, *__: StepResult.of(float("nan"), float("inf"), batch.tokens),
    )
    config = small()
    message = r"must be finite, but are .* at step \d+; use a lower .* in a new run, with another"
    with pytest.raises(TrainingError, match=message):
        train(config)


def test_a_loss_far_above_a_guess_is_a_warning(
    small: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    train(small("optimizer.learning_rate=1.0e+6", "training.max_steps=10"))
    (warning,) = [r.message for r in caplog.records if "has diverged" in r.message]
    assert "far above that of a uniform guess over the vocabulary (5.8)" in warning
    assert "use a lower `optimizer.learning_rate`" in warning
    train(small("name=healthy", "training.max_steps=10"))
    assert len([r for r in caplog.records if "has diverged" in r.message]) == 1


def test_a_validation_set_with_blank_targets_is_a_warning(
    small: MakeConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = small("training.max_steps=1")
    lines = Path(config.data.valid["valid"].target[0]).read_text(encoding="utf-8").splitlines()
    blank = tmp_path / "blank"
    blank.write_text("\n \n" + "\n".join(lines[2:]) + "\n", encoding="utf-8")
    valid = config.data.valid["valid"].changed(target=[str(blank)])
    train(config.changed(data={"valid": {"valid": valid}}))
    assert any(
        message.startswith("`data.valid.valid` has 2 blank lines of 50 on its target side")
        for message in caplog.messages
    )


@pytest.mark.parametrize(
    "changes",
    [
        ["optimizer=adagrad"],
        ["optimizer=adafactor"],
        ["schedule=plateau", "schedule.plateau_patience=1", "optimizer.learning_rate=0.5"],
    ],
    ids=lambda changes: changes[0],
)
def test_every_optimizer_and_schedule_resumes_to_the_bit(
    small: MakeConfig, interrupt_at: Callable[[int], None], changes: list[str]
) -> None:
    through, broken = (
        small(f"name={name}", *changes, "schedule.warmup_steps=4", "training.validate_every=3")
        for name in "ab"
    )
    train(through)
    interrupt_at(17)
    with pytest.raises(KeyboardInterrupt):
        train(broken)
    train(broken)
    assert_same_run(through, broken)
    rates = [line["learning_rate"] for line in metrics(through, "train")]
    peak = through.optimizer.learning_rate
    assert (rates[-1] < peak) == ("schedule=plateau" in changes)


def test_validation_reports_plain_cross_entropy(small: MakeConfig) -> None:
    """Training's smoothing changes nothing in the report but what the weights become."""
    lines = []
    for smoothing in ("0.0", "0.5"):
        config = small(
            f"name=s{smoothing}",
            f"training.label_smoothing={smoothing}",
            "optimizer.learning_rate=1.0e-30",
            "training.max_steps=1",
        )
        train(config)
        (line,) = metrics(config, "validation")
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]))
        assert summary(config)["validation"]["valid"]["perplexity"] == line["perplexity"]
        lines.append(line["loss"])
    assert lines[0] == lines[1]


def test_one_command_at_a_time(small: MakeConfig) -> None:
    config = small("training.max_steps=1")
    config.folder.mkdir(parents=True)
    with lock(config.folder), pytest.raises(CheckpointError, match="by one command at a time"):
        train(config)
    assert {path.name for path in config.folder.iterdir()} <= {"plan.json", "run.json"}
    train(config)


def test_processes_that_were_not_asked_for(
    small: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PlanError, match=r"\(1\) must be the number of processes, but 2 were"):
        train(small())


def test_log_lines_are_means(small: MakeConfig, through: TrainConfig) -> None:
    coarse = small("training.log_every=4")
    train(coarse)
    each = {line["step"]: line for line in metrics(through, "train")}
    tokens = {
        step: line["target_tokens"] - each.get(step - 1, {"target_tokens": 0})["target_tokens"]
        for step, line in each.items()
    }
    lines = metrics(coarse, "train")
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24]
    for line in lines:
        window = range(line["step"] - 3, line["step"] + 1)
        total = sum(each[step]["loss"] * tokens[step] for step in window)
        assert line["loss"] == pytest.approx(total / sum(tokens[step] for step in window))


# Averages


def test_the_running_average_is_what_is_kept(small: MakeConfig) -> None:
    config = small("training.average.decay=0.5", "training.average.every=1")
    train(config)
    assert summary(config)["best_step"] == 24
    _, state = last(config)
    kept = load_file(config.folder / "best" / "model.safetensors")
    mass = float(state["average_mass"])
    for name, value in kept.items():
        torch.testing.assert_close(value, state[f"average/{name}"] / mass)
        assert not torch.equal(value, state[f"parameter/{name}"])


def test_without_an_average_the_last_weights_are_kept(small: MakeConfig) -> None:
    config = small("training.average.kind=none")
    train(config)
    _, state = last(config)
    assert summary(config)["best_step"] == 24
    for name, value in load_file(config.folder / "best" / "model.safetensors").items():
        assert torch.equal(value, state[f"parameter/{name}"])


def test_the_mean_of_checkpoints_competes_at_the_end(small: MakeConfig) -> None:
    config = small("training.average.kind=checkpoints", "training.average.checkpoints=4")
    train(config)
    assert steps(config) == [10, 15, 20, 24], "as many as are averaged"
    validations = metrics(config, "validation")
    assert [line["step"] for line in validations] == [6, 12, 18, 24, 24]


def test_micro_batches_change_nothing(small: MakeConfig, through: TrainConfig) -> None:
    split = small("parallel.micro_batches=4")
    train(split)
    for a, b in zip(metrics(through, "train"), metrics(split, "train"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
