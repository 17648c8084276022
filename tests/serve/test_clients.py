"""Clients that others have written, as they are, against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepl
import httpx
import pytest
from deep_translator import LibreTranslator
from libretranslatepy import LibreTranslateAPI

from tests.batching.fakes import Shouting
from tests.serve.conftest import address_of

StartServer = Callable[..., httpx.Client]


@pytest.fixture
def address(start_server: StartServer) -> str:
    return address_of(start_server(Shouting(), Shouting(source="de", target="en")))


def test_libretranslatepy(address: str) -> None:
    client = LibreTranslateAPI(address)
    assert client.translate("two dogs", "en", "de") == "TWO DOGS"
    assert client.detect("This is an English sentence.")[0]["language"] == "en"
    assert [one["code"] for one in client.languages()] == ["en", "de"]


def test_deep_translator(address: str) -> None:
    client = LibreTranslator(source="en", target="de", custom_url=f"{address}/", api_key="any")
    assert client.translate("two dogs") == "TWO DOGS"
    assert client.translate_batch(["one", "größe"]) == ["ONE", "GRÖSSE"]


def test_deepl(address: str) -> None:
    client = deepl.Translator("any", server_url=address)
    one = client.translate_text("two dogs", target_lang="DE")
    assert isinstance(one, deepl.TextResult)
    assert (one.text, one.detected_source_lang, one.billed_characters) == ("TWO DOGS", "EN", 8)
    several = client.translate_text(
        ["one", "<b>two</b> three"], source_lang="en", target_lang="de", tag_handling="html"
    )
    assert isinstance(several, list)
    assert [one.text for one in several] == ["ONE", "<b>TWO</b> THREE"]
    assert [one.code for one in client.get_source_languages()] == ["EN", "DE"]
    assert [one.code for one in client.get_target_languages()] == ["DE", "EN-GB", "EN-US"]
    back = client.translate_text("Das ist ein deutscher Satz.", target_lang="EN-US")
    assert isinstance(back, deepl.TextResult)
    assert back.detected_source_lang == "DE"
    assert client.get_usage().character.valid
    with pytest.raises(deepl.DeepLException, match="fr is not supported"):
        client.translate_text("one", target_lang="FR")
    with pytest.raises(deepl.DeepLException, match="formality"):
        client.translate_text("one", target_lang="DE", formality="more")


def test_deepl_s_keys(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("anna right\n", encoding="utf-8")
    address = address_of(start_server(Shouting(), keys=str(tmp_path / "keys")))
    result = deepl.Translator("right", server_url=address).translate_text("a", target_lang="DE")
    assert isinstance(result, deepl.TextResult)
    with pytest.raises(deepl.AuthorizationException):
        deepl.Translator("wrong", server_url=address).translate_text("a", target_lang="DE")


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients of the npm registry."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copy(Path(__file__).with_name("clients.mjs"), folder)
    packages = ["libretranslate@1.0.1", "translate@3.1.0", "deepl-node@1.28.0"]
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=200)
    return folder


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node")
def test_clients_of_node(address: str, node_clients: Path) -> None:
    done = subprocess.run(
        ["node", "clients.mjs", address],
        cwd=node_clients,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found == {
        "libretranslate": "TWO DOGS",
        "translate": "TWO DOGS",
        "deepl": ["TWO DOGS", "<b>ONE</b>"],
        "deeplTargets": ["de", "en-GB", "en-US"],
    }
