import subprocess
import sys

import pytest

from nmt.errors import ConnectionLostError
from nmt.parallel.group import backend_for, connected


@pytest.mark.parametrize(
    ("devices", "one_process", "backend"),
    [
        (["cuda:0", "cuda:1"], False, "nccl"),
        (["cuda:0"], False, "nccl"),
        (["cuda:0", "cuda:0"], False, "gloo"),  # two processes on one GPU
        (["cpu", "cuda:0"], False, "gloo"),
        (["cpu", "cpu"], False, "gloo"),
        (["cuda:0", "cuda:1"], True, "gloo"),  # replicas of a process that drives both
    ],
)
def test_nccl_only_where_each_process_has_a_gpu_of_its_own(
    devices: list[str], one_process: bool, backend: str
) -> None:
    assert backend_for(devices, one_process=one_process) == backend


def test_the_same_number_on_two_machines_is_two_gpus() -> None:
    assert backend_for(["cuda:0", "cuda:0"], ["a", "b"]) == "nccl"
    assert backend_for(["cuda:0", "cuda:0"], ["a", "a"]) == "gloo"


@pytest.mark.parametrize(
    "message",
    [
        "[/x/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:41607. GLHF!",
        "NCCL communicator was aborted: remote process exited or there was a network error",
        "The client socket has timed out after 60000ms while trying to connect to (10.0.0.1, 1)",
        "Gloo connectFullMesh failed with [/x/socket.cc:1] connect: No route to host",
    ],
)
def test_what_torch_says_of_lost_connections_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionLostError) as raised, connected():
        raise RuntimeError(message)
    told = str(raised.value)
    assert told.startswith("All 4 processes must stay connected, but rank 3 on ")
    assert "the network between this host and 10.0.0.1" in told
    assert "/x/" not in told
    assert "GLHF" not in told


def test_other_errors_are_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), connected():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


JOIN = """
import sys
from nmt.errors import ConnectionLostError
from nmt.parallel import group
group.TIMEOUT = __import__("datetime").timedelta(seconds=2)
try:
    group.join("gloo")
except ConnectionLostError as error:
    sys.exit(str(error))
"""


def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    done = subprocess.run(
        [sys.executable, "-c", JOIN], capture_output=True, text=True, check=False, timeout=60
    )
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("All 2 processes must stay connected, but rank 1 on ")
