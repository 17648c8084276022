"""The models of a server: one for each direction of each folder."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nmt.config import DecodeConfig, Direction, UseConfig
from nmt.errors import ConfigurationError
from serve.errors import RequestError
from serve.models import Models
from tests.batching.fakes import Shouting
from tests.serve.conftest import DECODE, StartServer, serve_config


def shouting(*codes: str) -> Shouting:
    """A model of several directions."""
    model = Shouting()
    model.directions = [Direction.model_validate(code) for code in codes]
    return model


def load(monkeypatch: pytest.MonkeyPatch, **models: Shouting) -> Models:
    def load_models(folders: list[str], use: UseConfig, decode: DecodeConfig) -> list[Any]:  # noqa: ARG001
        return [models[folder] for folder in folders]

    monkeypatch.setattr("serve.models.load_models", load_models)
    return Models.load(list(models), serve_config().translator, DECODE, 100)


def test_each_direction_of_each_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    models = load(monkeypatch, a=shouting("en-de", "en-fr"), b=shouting("de-en"))
    assert [(one.name, str(one.direction)) for one in models.models] == [
        ("a", "en→de"),
        ("a", "en→fr"),
        ("b", "de→en"),
    ]
    assert (models.sources, models.targets) == (["en", "de"], ["de", "fr", "en"])
    assert (models.targets_of("en"), models.sources_of("en")) == (["de", "fr"], ["de"])
    assert models.find("en", "fr").direction == Direction(source="en", target="fr")
    with pytest.raises(RequestError, match="fr is not supported"):
        models.find("de", "fr")
    with pytest.raises(RequestError, match="x y is not supported"):
        models.find("x y", "fr")


def test_two_models_of_a_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "^`models` must have different directions, but `b` translates en→fr like `a`\\.$"
    with pytest.raises(ConfigurationError, match=sentence):
        load(monkeypatch, a=shouting("en-de", "en-fr"), b=shouting("en-fr"))


def test_a_model_of_several_directions_is_served(start_server: StartServer) -> None:
    client: httpx.Client = start_server(shouting("en-de", "en-fr"))
    languages = client.get("/languages").json()
    assert [(one["code"], one["targets"]) for one in languages] == [
        ("en", ["de", "fr"]),
        ("de", []),
        ("fr", []),
    ]
    for target in ("de", "fr"):
        answer = client.post("/translate", json={"q": "a dog", "source": "en", "target": target})
        assert answer.json() == {"translatedText": "A DOG"}
