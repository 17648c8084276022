import pytest

from nmt.parallel.group import backend_for


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
