"""A real server on loopback, in front of a real small model or one that does what a test needs."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from nmt.config import DecodeConfig, LimitsConfig, PrecisionConfig, ServeConfig, UseConfig
from nmt.decoding import Translator
from serve.app import create_app
from serve.models import Model, Models

StartServer = Callable[..., httpx.Client]

DECODE = DecodeConfig(
    beam_size=3,
    length_penalty=0.6,
    coverage_penalty=0.1,
    n_best=1,
    max_source_tokens=None,
    max_length_ratio=1.0,
    max_length_offset=5,
    no_repeat_ngram=0,
    max_repeats=1,
    batch_sentences=8,
    shortlist=True,
)
LIMITS = LimitsConfig(
    body_bytes=10_000,
    texts=5,
    sentences=5,
    characters=1000,
    alternatives=2,
    beam_size=4,
    segment_tokens=100,
    deadline_seconds=20,
    waiting_sentences=20,
    waiting_tokens=2000,
    requests_per_minute=None,
    characters_per_minute=None,
)


def serve_config(**changes: Any) -> ServeConfig:
    values: dict[str, Any] = {
        "models": ["unused"],
        "translator": UseConfig(
            device="cpu",
            plan=None,
            precision=PrecisionConfig(name="fp32", emulate=False),
            threads=1,
        ),
        "host": "127.0.0.1",
        "port": 0,
        "keys": None,
        "proxies": [],
        "log": "text",
        "page": True,
        "continuous": True,
        "limits": LIMITS,
        "decode": DECODE,
    }
    limits = {key: changes.pop(key) for key in list(changes) if key in LimitsConfig.model_fields}
    values["limits"] = LIMITS.model_copy(update=limits)
    return ServeConfig(**{**values, **changes})


def models_of(*translators: Any) -> Models:
    return Models(
        [
            Model(f"model{i}", one, direction, one.splitter(direction))
            for i, one in enumerate(translators)
            for direction in one.directions
        ]
    )


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts a server in a thread; gives a client for it."""
    stops: list[Callable[[], None]] = []

    def start(*translators: Any, **changes: Any) -> httpx.Client:
        app = create_app(models_of(*translators) if translators else None, serve_config(**changes))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20)
        client.app = app  # type: ignore[attr-defined]

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

        stops.append(stop)
        return client

    yield start
    for stop in stops:
        stop()


@pytest.fixture(scope="session")
def translator(tiny_model_folder: Path) -> Translator:
    return Translator.load(tiny_model_folder, device="cpu", threads=1, decode=DECODE)


def address_of(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def posted(client: httpx.Client, texts: str | Sequence[str], **more: Any) -> httpx.Response:
    return client.post("/translate", json={"q": texts, "source": "en", "target": "de", **more})
