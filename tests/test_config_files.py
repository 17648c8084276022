"""Every file of conf/ becomes a dataclass; every setting is explained; nothing is left over."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hydra import compose, initialize_config_dir

from nmt import config as config_module
from nmt.command import plain_values
from nmt.config import (
    ClusterConfig,
    DataConfig,
    DecodeConfig,
    DeepSpeedConfig,
    EvaluateConfig,
    ExportConfig,
    GnmtConfig,
    LocalConfig,
    OptimizerConfig,
    PlaceConfig,
    PlacementConfig,
    PrecisionConfig,
    ScheduleConfig,
    SearchConfig,
    ServeConfig,
    Settings,
    TrainConfig,
    TranslateConfig,
    WavefrontConfig,
    describe,
    read,
)
from nmt.config.paths import configuration_folder

CONF = Path(__file__).parents[1] / "conf"
# The classes of each group: several where one setting of a file tells which it becomes.
GROUPS: dict[str, tuple[type[Settings], ...]] = {
    "model": (GnmtConfig,),
    "data": (DataConfig,),
    "optimizer": (OptimizerConfig,),
    "schedule": (ScheduleConfig,),
    "parallel": (LocalConfig, DeepSpeedConfig, WavefrontConfig),
    "placement": (PlacementConfig,),
    "cluster": (ClusterConfig,),
    "precision": (PrecisionConfig,),
    "decode": (DecodeConfig,),
    "search": (SearchConfig,),
}
COMMANDS: dict[str, tuple[type[Settings], list[str]]] = {
    "train": (TrainConfig, []),
    "evaluate": (EvaluateConfig, ["translator.folder=m", "data=sample", "split=test"]),
    "translate": (TranslateConfig, ["translator.folder=m"]),
    "serve": (ServeConfig, ["models=m"]),
    "place": (PlaceConfig, []),
    "export": (ExportConfig, ["folder=m", "output=n"]),
}
FOR_TRAINING = ("fp32", "bf16")  # formats of conf/precision
NOT_FOR_USE_ALONE = (("data", "base"), ("placement", "base"), ("search", "base"))
WITH_BASE = ("data", "placement", "search")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NMT_CORPORA", "/corpora")
    monkeypatch.delenv("NMT_CACHE", raising=False)
    monkeypatch.delenv("NMT_RUNS", raising=False)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@cache  # composing takes a fifth of a second
def composed(name: str, *overrides: str) -> dict[str, Any]:
    return plain_values(compose(name, list(overrides)))


def options(group: str) -> list[str]:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [name for name in names if (group, name) not in NOT_FOR_USE_ALONE]


FILES = {  # what conf/data/files.yaml leaves to the command line
    "data.direction": "en-de",
    "data.train.files.source": "a.en",
    "data.train.files.target": "a.de",
    "data.valid.valid.source": "b.en",
    "data.valid.valid.target": "b.de",
}


def corpus(name: str) -> list[str]:
    """The overrides that choose a corpus."""
    given = [f"{path}={value}" for path, value in FILES.items()] if name == "files" else []
    return [f"data={name}", *given]


def all_options(*groups: str) -> list[tuple[str, str]]:
    return [(group, name) for group in groups for name in options(group)]


def class_of(group: str, values: dict[str, Any]) -> type[Settings]:
    """The one of the group's classes that the values become."""
    kinds = GROUPS[group]
    if len(kinds) == 1:
        return kinds[0]
    (kind,) = [
        kind
        for kind in kinds
        for name, field in kind.model_fields.items()
        if get_args(field.annotation) == (values.get(name),)
    ]
    return kind


def all_settings() -> list[type[Settings]]:
    return [
        kind
        for kind in vars(config_module).values()
        if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
    ]


def test_conf_is_found() -> None:
    assert configuration_folder() == CONF


def test_every_file_is_known_to_these_tests() -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert groups == GROUPS.keys()
    assert {path.stem for path in CONF.glob("*.yaml")} <= COMMANDS.keys()


@pytest.mark.parametrize("command", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_command(command: str) -> None:
    kind, overrides = COMMANDS[command]
    values = composed(command, *overrides)
    read(kind, values)
    # Settings with a default in the class could be forgotten in the YAML: there are none here.
    assert values.keys() == kind.model_fields.keys() - {"search"}


@pytest.mark.parametrize("name", options("data"))
def test_training_on_every_corpus(name: str) -> None:
    config = read(TrainConfig, composed("train", *corpus(name)))
    assert config.data.name == name
    assert config.name == f"tiny-{name}"
    (direction,) = config.data.directions
    for one in [*config.data.train.values(), *config.data.splits.values()]:
        for sources, targets in zip(one.source, one.target, strict=True):
            assert Path(sources).name.split(".")[1] == direction.source
            assert Path(targets).name.split(".")[1] == direction.target
            assert Path(sources).name.split(".")[0] == Path(targets).name.split(".")[0]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *all_options("model", "optimizer", "schedule", "decode"),
        *(("precision", name) for name in FOR_TRAINING),
    ],
)
def test_training_with_every_option(group: str, name: str) -> None:
    config = read(TrainConfig, composed("train", f"{group}={name}"))
    chosen = getattr(config, group)
    assert isinstance(chosen, GROUPS[group])
    assert getattr(chosen, "name", name) == name


@pytest.mark.parametrize(
    ("parallel", "precision"), list(product(options("parallel"), FOR_TRAINING))
)
def test_every_executor_in_every_format(parallel: str, precision: str) -> None:
    overrides = [f"parallel={parallel}", f"precision={precision}"]
    config = read(TrainConfig, composed("train", *overrides))
    assert config.parallel.executor == {"auto": "wavefront"}.get(parallel, parallel)
    tune = isinstance(config.parallel, WavefrontConfig) and config.parallel.tune
    assert tune == (parallel == "auto")


@pytest.mark.parametrize("name", options("data"))
def test_evaluating_on_every_test_set(name: str) -> None:
    values = composed("evaluate", "translator.folder=m", *corpus(name), "split=valid")
    tests = [name for name, test in values["data"]["test"].items() if test["source"] is not None]
    for split in ["valid", *tests]:
        assert read(EvaluateConfig, {**values, "split": split}).split == split


@pytest.mark.parametrize(("group", "name"), all_options(*GROUPS))
def test_a_file_has_no_setting_that_its_class_does_not_know(group: str, name: str) -> None:
    values = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    assert values.keys() - {"defaults"} <= class_of(group, values).model_fields.keys()


def test_what_corpora_share_names_no_files() -> None:
    values = yaml.safe_load((CONF / "data" / "base.yaml").read_text(encoding="utf-8"))
    assert not values.keys() & {"name", "train", "valid", "test"}
    assert values.keys() <= DataConfig.model_fields.keys()


@pytest.mark.parametrize("group", GROUPS)
def test_files_of_a_group_have_the_same_settings(group: str) -> None:
    if group in WITH_BASE:
        chosen = {
            name: corpus(name) if group == "data" else [f"{group}={name}"]
            for name in options(group)
        }
        found = {name: composed("train", *overrides)[group] for name, overrides in chosen.items()}
    else:
        found = {
            name: yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
            for name in options(group)
        }
    for name, values in found.items():
        assert isinstance(values, dict)
        assert values.keys() == class_of(group, values).model_fields.keys(), name


def test_a_file_is_called_as_its_name() -> None:
    for group, name in all_options(*GROUPS):
        values = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
        assert values.get("name", name) == name


@pytest.mark.parametrize("kind", all_settings(), ids=lambda kind: kind.__name__)
def test_every_setting_is_explained(kind: type[Settings]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != Settings.__doc__
    for name, sentence in describe(kind):
        assert sentence, f"{kind.__name__}.{name} has no description"
        assert sentence[0].isupper() or sentence[0].islower(), name
        assert sentence.endswith("."), f"{kind.__name__}.{name}: {sentence}"
        assert len(sentence) > 8, f"{kind.__name__}.{name}: {sentence}"


def test_defaults_stand_in_the_files_alone() -> None:
    with_defaults = {
        f"{kind.__name__}.{name}"
        for kind in all_settings()
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }
    in_lists = {
        "TrainConfig.search",  # no group is chosen
        "ChoiceConfig.ordered",
        "RangeConfig.log",
        "CorpusConfig.weight",
        "CorpusConfig.target",
        "CorpusConfig.columns",
        "DeviceConfig.speed",
        "DeviceConfig.memory",
        "DeviceConfig.host",
    }
    assert with_defaults == in_lists


def test_a_group_s_explanation_is_its_class_s() -> None:
    sentences = dict(describe(TrainConfig))
    assert sentences["optimizer"] == "The optimizer."
    assert get_args(EvaluateConfig.model_fields["data"].annotation)[0] is DataConfig
