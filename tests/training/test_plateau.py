import pytest

from nmt.config import ScheduleConfig
from nmt.training.checkpoint import Progress
from nmt.training.plateau import after_validation


def schedule(name: str = "plateau") -> ScheduleConfig:
    values = {"warmup_steps": 0, "decay_start": 0.5, "final_factor": 0.2}
    values |= {"plateau_patience": 2, "plateau_factor": 0.5}
    return ScheduleConfig.model_validate({"name": name, **values})


def test_the_rate_falls_after_every_plateau_down_to_its_end() -> None:
    progress, factors = Progress(), []
    for improved in (True, False, True, False, False, False, False, False, False, False, False):
        after_validation(schedule(), progress, improved)
        factors.append(progress.rate_factor)
    assert factors == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2])


def test_other_schedules_do_not_care() -> None:
    progress = Progress()
    for _ in range(5):
        after_validation(schedule("constant"), progress, improved=False)
    assert (progress.rate_factor, progress.plateau_length) == (1, 0)
