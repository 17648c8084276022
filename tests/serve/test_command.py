"""nmt-serve as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from nmt.errors import ConfigurationError
from serve.__main__ import bind, main

ROOT = Path(__file__).parents[2]
StartProcess = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[StartProcess]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("whole", [True, False], ids=["in the batch", "half read"])
def test_it_serves_and_finishes_its_requests_at_sigterm(
    start: StartProcess, tiny_model_folder: Path, whole: bool
) -> None:
    process = start(f"models={tiny_model_folder}", "port=0", "translator.threads=1")
    assert process.stdout is not None
    greeting = process.stdout.readline()
    address = greeting.split()[-1]
    assert greeting == f"Serving {tiny_model_folder} at {address}\n"
    assert address.startswith("http://127.0.0.1:")
    request = {"q": "A private text.", "source": "en", "target": "de"}
    long = {**request, "q": "\n".join(["A private text of some length, said one of them."] * 900)}
    signalled = threading.Event()

    def body() -> Iterator[bytes]:
        text = json.dumps(long).encode()
        yield text[:99]
        if not whole:
            assert signalled.wait(60)
        yield text[99:]

    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor(1) as thread:
        client.post("/translate", params=request).raise_for_status()
        headers = {"content-type": "application/json"}
        answer = thread.submit(client.post, "/translate", content=body(), headers=headers)
        while not (
            client.get("/status").json()["running_sentences"]
            if whole
            else "nmt_http_requests_in_flight 2.0" in client.get("/metrics").text
        ):
            assert not answer.done()
        process.send_signal(signal.SIGTERM)
        signalled.set()
        finished = answer.result()
        assert finished.status_code == 200, finished.text
        translated = finished.json()["translatedText"]
    _, log = process.communicate(timeout=60)
    assert len(translated.split("\n")) == 900
    assert process.returncode == 0
    assert "private" not in log
    assert "Traceback" not in log


def test_models_are_read_again_at_sighup(start: StartProcess, tiny_model_folder: Path) -> None:
    folder = tiny_model_folder
    process = start(f"models={folder}", "port=0", "translator.threads=1", "log=json")
    assert process.stdout is not None
    assert process.stderr is not None
    address = process.stdout.readline().split()[-1]
    lines: list[dict[str, object]] = []

    def wait_for(message: str) -> None:
        assert process.stderr is not None
        while not any(message in str(line["message"]) for line in lines):
            lines.append(json.loads(process.stderr.readline()))

    with httpx.Client(base_url=address, timeout=60) as client:
        request = {"q": "A man.", "source": "en", "target": "de"}
        before = client.post("/translate", data=request).raise_for_status().json()
        process.send_signal(signal.SIGHUP)
        wait_for("the models have been reloaded")
        description = folder / "model.yaml"
        kept = description.read_text(encoding="utf-8")
        try:
            description.write_text("format: 99", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            wait_for("reloading failed, the old models stay")
        finally:
            description.write_text(kept, encoding="utf-8")
        again = client.post("/translate", data=request, headers={"x-request-id": "mine"})
        assert again.raise_for_status().json() == before
        wait_for("(mine)")
        assert lines[-1]["status"] == 200
        assert lines[-1]["endpoint"] == "/translate"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def run_in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("sys.argv", ["nmt-serve", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return stopped.value.code


def test_a_missing_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_in_process(monkeypatch, "models=nowhere", "port=0") == 2
    expected = "`nowhere` must be a model folder, but there is no such folder."
    assert capsys.readouterr().err.strip() == f"nmt-serve: error: {expected}"


def test_a_port_in_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_in_process(monkeypatch, "models=nowhere", f"port={port}") == 2
    assert (
        f"`host` and `port` must be an address to listen on, but 127.0.0.1 port {port} gives "
        "“Address already in use” instead; choose another, such as `port=0`"
    ) in capsys.readouterr().err


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 port 0 gives “Cannot assign"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize("host", ["a\x95b", "x" * 70, "a..b", "\udcff", "a\0b"])
def test_a_host_that_is_no_name(host: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an address to listen on, but"):
        bind(host, 0)


def test_a_missing_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serve.__main__.find_spec", lambda name: None if name == "uvicorn" else 1)
    assert run_in_process(monkeypatch, "models=nowhere", "port=0") == 2
    error = capsys.readouterr().err
    assert "needs the package uvicorn, but it is not installed" in error
    assert "pip install 'pipeline-nmt[serve]'" in error
