"""A real server on loopback, in front of a real small model or one that does what a test needs."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from nmt.config import DecodeConfig, PrecisionConfig, ServeConfig, TranslatorConfig
from nmt.decoding import Translator
from serve.app import create_app

StartServer = Callable[..., httpx.Client]

DECODE = DecodeConfig(
    beam_size=3,
    length_penalty=0.6,
    coverage_penalty=0.1,
    n_best=1,
    max_length_ratio=1.0,
    max_length_offset=5,
    no_repeat_ngram=0,
    max_repeats=1,
    batch_sentences=8,
)


def serve_config(folder: Path | str, **changes: Any) -> ServeConfig:
    values: dict[str, Any] = {
        "translator": TranslatorConfig(
            folder=str(folder),
            device="cpu",
            plan=None,
            precision=PrecisionConfig(name="fp32", emulate=False),
            threads=1,
        ),
        "host": "127.0.0.1",
        "port": 0,
        "max_body_bytes": 10_000,
        "max_sentences": 5,
        "max_characters": 100,
        "decode": DECODE,
    }
    return ServeConfig(**{**values, **changes})


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts a server in a thread; gives a client for it."""
    stops: list[Callable[[], None]] = []

    def start(translator: Any, **changes: Any) -> httpx.Client:
        app = create_app(translator, serve_config("unused", **changes))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20)

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
