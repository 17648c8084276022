"""The place of a process is read from what its launcher says."""

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from nmt.parallel.world import World, is_first_to_say, is_worker, world


def test_a_lone_process_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not is_worker()
    assert world() == World(rank=0, local_rank=0, size=1, local_size=1)


def test_the_place_is_that_of_torchrun_and_of_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("LOCAL_SIZE", "4")  # deepspeed's name
    assert is_worker()
    assert world() == World(5, 1, 8, 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # torchrun's
    assert world() == World(5, 1, 8, 2)


def test_what_all_say_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_to_say("x")
    assert is_first_to_say("x")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    where = {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    where |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    assert [is_first_to_say(what) for what in ("x", "x", "y")] == [True, False, True]
