import copy
from collections.abc import Callable
from typing import Any

import pytest

from nmt.config import (
    DataConfig,
    DecodeConfig,
    OptimizerConfig,
    Settings,
    TrainConfig,
    TrainingConfig,
    read,
)
from nmt.errors import ConfigurationError, NmtError

FILES = {"source": ["a.en"], "target": ["a.de"]}
VALUES: dict[str, Any] = {
    "name": "run",
    "runs": "runs",
    "seed": 1,
    "resume": "auto",
    "distill": None,
    "model": {
        "name": "tiny",
        "architecture": "gnmt",
        "cell": "lstm",
        "encoder_layers": 2,
        "decoder_layers": 2,
        "hidden_size": 8,
        "dropout": 0.2,
        "embedding_dropout": 0.0,
        "residual": "full",
        "bidirectional_layers": 1,
        "context": "all",
        "normalisation": "none",
        "attention": "additive",
        "attention_heads": 1,
        "tie": "none",
    },
    "data": {
        "name": "corpus",
        "direction": "en-de",
        "train": {"a": {**FILES, "weight": 2.0}},
        "valid": {"valid": FILES},
        "test": {"test2016": FILES},
        "vocabulary": {
            "size": 300,
            "kind": "bpe",
            "character_coverage": 1.0,
            "sample_lines": 10,
            "model": None,
        },
        "filter": {"max_tokens": 10, "max_ratio": 2.0, "duplicates": True, "copies": True},
        "batch": {"tokens": 10, "sentences": None, "multiple": 8, "pool": 10},
        "cache": "cache",
    },
    "optimizer": {
        "name": "adam",
        "rule": None,
        "learning_rate": 0.1,
        "betas": [0.9, 0.98],
        "epsilon": 1e-9,
        "weight_decay": 0.0,
        "clip_norm": None,
    },
    "schedule": {
        "name": "constant",
        "warmup_steps": 0,
        "decay_start": 0.0,
        "final_factor": 0.0,
        "plateau_patience": 1,
        "plateau_factor": 0.5,
    },
    "parallel": {
        "executor": "local",
        "device": "cpu",
        "micro_batches": 1,
        "trace": False,
        "threads": None,
    },
    "placement": {
        "planner": "expert",
        "file": None,
        "policy": None,
        "evaluations": 10,
        "minutes": None,
        "learning": {"samples": 2, "learning_rate": 0.1, "entropy": 0.0, "hidden": 4},
    },
    "precision": {
        "name": "fp32",
        "emulate": False,
        "clip": None,
        "clip_start": 8.0,
        "clip_steps": 100,
        "clip_cells_from": None,
    },
    "decode": {
        "beam_size": 5,
        "length_penalty": 0.6,
        "coverage_penalty": 0.2,
        "n_best": 1,
        "max_source_tokens": None,
        "max_length_ratio": 2.0,
        "max_length_offset": 10,
        "no_repeat_ngram": 0,
        "max_repeats": 1,
        "batch_sentences": 8,
        "shortlist": True,
    },
    "training": {
        "max_steps": 10,
        "max_epochs": None,
        "max_tokens": None,
        "max_minutes": None,
        "label_smoothing": 0.1,
        "validate_every": 5,
        "validate_sentences": 5,
        "validate_first": 0,
        "checkpoint_every": 5,
        "keep_checkpoints": 2,
        "best_by": "bleu",
        "patience": None,
        "log_every": 1,
        "log_seconds": 30.0,
        "bleu_tokenizer": "auto",
        "average": {"kind": "none", "checkpoints": 1, "decay": 0.9, "every": 1},
        "halving": {"folder": None, "by": "tokens", "rungs": [], "keep": 0.5},
    },
}


DEEPSPEED = {
    "executor": "deepspeed",
    "device": "cpu",
    "stages": 2,
    "replicas": 1,
    "micro_batches": 1,
    "trace": False,
    "zero": 0,
    "threads": None,
}
WAVEFRONT = {
    "executor": "wavefront",
    "device": "cpu",
    "stages": 2,
    "replicas": 1,
    "micro_batches": 1,
    "chunks": 2,
    "schedule": "gpipe",
    "one_process": False,
    "tune": False,
    "trace": False,
    "threads": None,
}


def with_changes(**changes: Any) -> dict[str, Any]:
    """VALUES with `a__b=value` for `a.b: value`."""
    values = copy.deepcopy(VALUES)
    for path, value in changes.items():
        *groups, last = path.split("__")
        group = values
        for name in groups:
            group = group[name]
        group[last] = value
    return values


def mistakes(values: dict[str, Any], kind: type[Settings] = TrainConfig) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        read(kind, values)
    assert str(raised.value) == "\n".join(raised.value.mistakes)
    return raised.value.mistakes


def test_right_values() -> None:
    config = read(TrainConfig, VALUES)
    assert str(config.folder) == "runs/run"
    assert config.optimizer.betas == (0.9, 0.98)
    assert config.data.splits.keys() == {"valid", "test2016"}
    assert read(TrainConfig, VALUES) == config


def test_what_is_saved_can_be_read_again() -> None:
    config = read(TrainConfig, VALUES)
    assert read(TrainConfig, config.model_dump(mode="json")) == config


def test_every_mistake_is_reported_at_once() -> None:
    values = with_changes(
        seed=-1, model__hidden_size="8", model__hiden=3, optimizer__name="rmsprop"
    )
    del values["training"]["log_every"]
    assert mistakes(values) == [
        "`seed` must be at least 0, but is -1 instead.",
        "`model.hidden_size` must be a valid integer, but is '8' instead.",
        "`model.hiden` is not a setting; remove it or check its spelling.",
        "`optimizer.name` must be one of 'adam', 'sgd', 'adagrad', 'adafactor' or 'rule', but is "
        "'rmsprop' instead.",
        "`training.log_every` must be set, but is missing.",
    ]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("seed", True, "`seed` must be a valid integer, but is True instead."),
        ("seed", 1.0, "`seed` must be a valid integer, but is 1.0 instead."),
        ("name", "", "`name` must not be empty."),
        ("name", 3, "`name` must be a valid string, but is 3 instead."),
        (
            "model__dropout",
            1.0,
            "`model.dropout` must be less than 1.0, but is 1.0 instead.",
        ),
        (
            "model__encoder_layers",
            1,
            "`model.encoder_layers` must be at least 2, but is 1 instead.",
        ),
        (
            "optimizer__learning_rate",
            0,
            "`optimizer.learning_rate` must be greater than 0.0, but is 0 instead.",
        ),
        (
            "optimizer__learning_rate",
            float("inf"),
            "`optimizer.learning_rate` must be a finite number, but is inf instead.",
        ),
        (
            "optimizer__clip_norm",
            float("nan"),
            "`optimizer.clip_norm` must be a finite number, but is nan instead.",
        ),
        (
            "optimizer__betas",
            [0.9],
            "`optimizer.betas.1` must be set, but is missing.",
        ),
        (
            "optimizer__betas",
            [0.9, 0.9, 0.9],
            "`optimizer.betas` must have at most 2 items, but is (0.9, 0.9, 0.9) instead.",
        ),
        (
            "optimizer__betas",
            [0.9, 1.5],
            "`optimizer.betas.1` must be less than 1.0, but is 1.5 instead.",
        ),
        (
            "data__vocabulary__character_coverage",
            1.1,
            "`data.vocabulary.character_coverage` must be at most 1.0, but is 1.1 instead.",
        ),
        (
            "data__train__a__source",
            [],
            "`data.train.a.source` must not be empty.",
        ),
        (
            "data__train__a__weight",
            0,
            "`data.train.a.weight` must be greater than 0.0, but is 0 instead.",
        ),
        ("data__train", {}, "`data.train` must not be empty."),
        ("model", None, "`model` must be a group of settings, but is None instead."),
        (
            "parallel",
            DEEPSPEED | {"zero": 2},
            "`parallel.zero` must be one of 0 or 1, but is 2 instead.",
        ),
        (
            "parallel",
            DEEPSPEED | {"chunks": 2},
            "`parallel.chunks` is not a setting with `parallel=deepspeed`; remove it or check its "
            "spelling.",
        ),
        (
            "parallel",
            WAVEFRONT | {"schedule": None},
            "`parallel.schedule` must be one of 'gpipe', '1f1b' or 'wavefront', but is None "
            "instead.",
        ),
        (
            "parallel__stages",
            2,
            "`parallel.stages` is not a setting with `parallel=local`; remove it or check its "
            "spelling.",
        ),
        (
            "parallel__executor",
            "ray",
            "`parallel.executor` must be one of 'local', 'deepspeed' or 'wavefront', but is 'ray' "
            "instead.",
        ),
        ("parallel", {}, "`parallel.executor` must be set, but is missing."),
        ("parallel", None, "`parallel` must be a group of settings, but is None instead."),
        (
            "decode__beam_size",
            0,
            "`decode.beam_size` must be at least 1, but is 0 instead.",
        ),
        (
            "training__average__decay",
            -0.5,
            "`training.average.decay` must be at least 0.0, but is -0.5 instead.",
        ),
    ],
)
def test_a_sentence_names_path_value_and_what_is_allowed(
    path: str, value: object, sentence: str
) -> None:
    assert mistakes(with_changes(**{path: value})) == [sentence]


# Directions and sets


def test_corpora_have_the_direction_of_the_whole_or_their_own() -> None:
    own = {**FILES, "direction": {"source": "de", "target": "en"}}
    data = with_changes(data__train={"a": FILES, "b": own}, data__test={"c": own, "d": FILES})[
        "data"
    ]
    config = read(DataConfig, data)
    assert {name: str(corpus.direction) for name, corpus in config.train.items()} == {
        "a": "en→de",
        "b": "de→en",
    }
    assert list(map(str, config.directions)) == ["en→de", "de→en"]
    assert read(DataConfig, config.model_dump(mode="json")) == config


def test_each_corpus_may_give_its_direction() -> None:
    own = {**FILES, "direction": "de-en"}
    groups = {f"data__{name}": {"a": own} for name in ("train", "valid")}
    config = read(TrainConfig, with_changes(**groups, data__test={}, data__direction=None))
    assert list(map(str, config.data.directions)) == ["de→en"]


def test_a_corpus_without_a_direction() -> None:
    assert mistakes(with_changes(data__direction=None)["data"], DataConfig) == [
        f"`{name}.direction` must be set, but is missing."
        for name in ("train.a", "valid.valid", "test.test2016")
    ]


def test_a_wrong_direction_is_one_mistake() -> None:
    (mistake,) = mistakes(with_changes(data__direction="english"))
    assert mistake.startswith("`data.direction` must be two language codes, such as `en-de`, or ")


def test_training_is_for_one_direction() -> None:
    own = {**FILES, "direction": "de-en"}
    assert mistakes(with_changes(data__test={"b": own})) == [
        "`data` must have corpora of a single direction, since a model is trained for one, but has "
        "en→de, de→en instead."
    ]


def test_languages_as_version_0_1_had_them() -> None:
    values = with_changes(data__source_language="en", data__target_language="de")
    assert mistakes(values) == [
        "In `data`, `source_language` and `target_language` must be written as one setting, such "
        "as `direction: en-de`."
    ]


def test_a_validation_set_without_a_name() -> None:
    assert mistakes(with_changes(data__valid=FILES)) == [
        "In `data`, `valid` must give each validation set a name, as in "
        "`valid: {valid: {source: […], target: […]}}`, but has `source` itself instead."
    ]
    assert mistakes(with_changes(data__valid={})) == ["`data.valid` must not be empty."]


@pytest.mark.parametrize("group", ["valid", "test"])
def test_only_training_corpora_have_a_weight(group: str) -> None:
    assert mistakes(with_changes(**{f"data__{group}": {"a": {**FILES, "weight": 2.0}}})) == [
        "In `data`, `weight` must be left out of `a`, which is not a training corpus, but is 2 "
        "instead."
    ]


def test_a_set_for_validation_and_for_tests() -> None:
    assert mistakes(with_changes(data__test={"valid": FILES})) == [
        "In `data`, `valid` and `test` must have different names, but both have `valid`; rename "
        "one of the two."
    ]


def test_what_makes_a_model_the_best() -> None:
    sets = {"a": FILES, "b.c": FILES}
    for name in ("loss", "a.bleu", "b.c.chrf"):
        config = read(TrainConfig, with_changes(data__valid=sets, training__best_by=name))
        assert config.training.best_by == name
    for name in ("ter", "b.bleu", "a.ter"):
        assert mistakes(with_changes(data__valid=sets, training__best_by=name)) == [
            "`training.best_by` must be one of bleu, chrf, loss, a.bleu, a.chrf, a.loss, b.c.bleu, "
            f"b.c.chrf, b.c.loss, but is {name} instead."
        ]


# Rules between settings


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "data__train__a__target",
            ["a.de", "b.de"],
            "In `data.train.a`, `target` must name as many files as `source` (1), "
            "but names 2 instead.",
        ),
        (
            "data__batch__tokens",
            None,
            "In `data.batch`, exactly one of `tokens` and `sentences` must be set.",
        ),
        (
            "data__batch__sentences",
            8,
            "In `data.batch`, exactly one of `tokens` and `sentences` must be set.",
        ),
        (
            "decode__n_best",
            6,
            "In `decode`, `n_best` must be at most `beam_size` (5), but is 6 instead.",
        ),
        (
            "training__max_steps",
            None,
            "one of `training.max_steps`, `training.max_epochs`, `training.max_tokens` and "
            "`training.max_minutes` "
            "must be set.",
        ),
        (
            "parallel__micro_batches",
            3,
            "`data.batch.multiple` must be a multiple of `parallel.replicas` × "
            "`parallel.micro_batches` (3), but is 8 instead.",
        ),
        (
            "placement__planner",
            "exact",
            "`placement` must be expert with `parallel=local`, where nothing is placed, but is "
            "exact instead.",
        ),
        (
            "parallel",
            DEEPSPEED | {"zero": 1},
            "In `parallel`, `zero` must be 0 with a single replica, which has no other to shard "
            "with, but is 1 instead; set `replicas` to 2 or more.",
        ),
    ],
)
def test_settings_that_do_not_go_together(path: str, value: object, sentence: str) -> None:
    assert mistakes(with_changes(**{path: value})) == [sentence]


def test_all_rules_between_settings_are_reported_at_once() -> None:
    values = with_changes(
        placement__planner="exact", parallel__micro_batches=3, training__max_steps=None
    )
    found = mistakes(values)
    assert [sentence.split(" must")[0] for sentence in found] == [
        "`data.batch.multiple`",
        "one of `training.max_steps`, `training.max_epochs`, `training.max_tokens` and "
        "`training.max_minutes`",
        "`placement`",
    ]


def test_tuning_chooses_what_a_plan_would_choose() -> None:
    values = with_changes(parallel=WAVEFRONT | {"tune": True}, placement__planner="auto")
    assert mistakes(values) == [
        "`placement.planner` must not be auto or file with `parallel.tune`, which chooses the "
        "numbers of micro-batches and chunks itself, but is auto instead."
    ]


@pytest.mark.parametrize("limit", ["max_epochs", "max_minutes"])
def test_any_limit_will_do(limit: str) -> None:
    values = with_changes(training__max_steps=None, **{f"training__{limit}": 1})
    values["schedule"]["name"] = "constant"
    read(TrainConfig, values)


def test_a_schedule_that_decays_needs_an_end_to_decay_to() -> None:
    values = with_changes(training__max_steps=None, training__max_minutes=1)
    values["schedule"]["name"] = "cosine"
    assert mistakes(values) == [
        "one of `training.max_steps`, `training.max_epochs` and `training.max_tokens` must be set "
        "with `schedule=cosine`, which does not depend on the clock."
    ]


@pytest.mark.parametrize(
    ("parallel", "processes"),
    [
        (VALUES["parallel"], 1),
        (DEEPSPEED | {"stages": 3, "replicas": 2, "zero": 1}, 6),
        (WAVEFRONT | {"stages": 3, "replicas": 2}, 6),
        (WAVEFRONT | {"stages": 3, "replicas": 2, "one_process": True}, 2),
    ],
)
def test_every_executor_has_the_numbers_that_a_plan_needs(
    parallel: dict[str, Any], processes: int
) -> None:
    config = read(TrainConfig, with_changes(parallel=parallel)).parallel
    assert config.processes == processes
    assert config.stages == parallel.get("stages", 1)
    assert config.replicas == parallel.get("replicas", 1)
    assert config.micro_batches == parallel["micro_batches"]
    assert config.chunks == parallel.get("chunks", 1)
    assert config.rule == parallel.get("schedule", "1f1b")


# Values stay as they are


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        (DataConfig, lambda values: values["data"]),
        (OptimizerConfig, lambda values: values["optimizer"]),
        (DecodeConfig, lambda values: values["decode"]),
        (TrainingConfig, lambda values: values["training"]),
    ],
)
def test_a_group_alone(
    kind: type[Settings], group: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    values = group(copy.deepcopy(VALUES))
    read(kind, values)
    assert values == group(VALUES), "reading must not change what is read"
    assert mistakes({**values, "surplus": 1}, kind) == [
        "`surplus` is not a setting; remove it or check its spelling."
    ]


def test_settings_cannot_be_changed() -> None:
    config = read(TrainConfig, VALUES)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 2  # type: ignore[misc]


def test_it_is_an_error_of_the_user() -> None:
    assert issubclass(ConfigurationError, NmtError)


def test_clipping_that_cannot_be() -> None:
    wide = with_changes(precision__clip=2.0, precision__clip_start=1.0)
    assert "`clip_start` must be at least `clip` (2), but is 1 instead." in mistakes(wide)[0]
    cells = with_changes(precision__clip_cells_from=5)
    assert "`clip_cells_from` must be null without `clip`, but is 5 instead." in mistakes(cells)[0]
    read(TrainConfig, with_changes(precision__clip=1.0, precision__clip_cells_from=5))
    gru = with_changes(model__cell="gru", precision__clip=1.0, precision__clip_cells_from=5)
    assert (
        "`precision.clip_cells_from` must be null for a model whose recurrent state is within 1, "
        "but is 5 instead." in mistakes(gru)[0]
    )
    read(TrainConfig, with_changes(model__cell="gru", precision__clip=1.0))


def test_a_changed_copy_is_validated() -> None:
    config = read(TrainConfig, VALUES)
    changed = config.changed(seed=2, model={"encoder_layers": 4})
    assert (changed.seed, changed.model.encoder_layers, changed.model.decoder_layers) == (2, 4, 2)
    assert changed.changed(seed=1, model=config.model) == config
    with pytest.raises(ConfigurationError) as error:
        config.changed(seed=-1, model={"encoder_layers": 1}, parallel={"micro_batches": 3, "x": 1})
    assert error.value.mistakes == [
        "`seed` must be at least 0, but is -1 instead.",
        "`model.encoder_layers` must be at least 2, but is 1 instead.",
        "`parallel.x` is not a setting with `parallel=local`; remove it or check its spelling.",
    ]
    with pytest.raises(ConfigurationError, match=r"must be a multiple of `parallel\.replicas`"):
        config.changed(parallel={"micro_batches": 3})


def test_adafactor_needs_whole_matrices() -> None:
    message = (
        "`optimizer` must not be adafactor with `parallel=deepspeed` in bf16 or with "
        "`parallel.zero=1`, where DeepSpeed hands all matrices over as one flat vector; use "
        "`parallel=wavefront` or another optimizer."
    )
    changed = with_changes(parallel=DEEPSPEED, optimizer__name="adafactor", precision__name="bf16")
    assert message in mistakes(changed)
