"""The plateau schedule: a lower learning rate whenever validations stop improving."""

from __future__ import annotations

import logging

from nmt.config import ScheduleConfig
from nmt.training.checkpoint import Progress

logger = logging.getLogger(__name__)


def after_validation(schedule: ScheduleConfig, progress: Progress, improved: bool) -> None:
    """Count a validation, and lower `progress.rate_factor` after enough of them without
    improvement. All that it depends on is in the progress, so that a resumed run does the same."""
    if schedule.name != "plateau":
        return
    progress.plateau_length = 0 if improved else progress.plateau_length + 1
    if progress.plateau_length < schedule.plateau_patience:
        return
    progress.plateau_length = 0
    lower = max(schedule.final_factor, progress.rate_factor * schedule.plateau_factor)
    if lower < progress.rate_factor:
        progress.rate_factor = lower
        logger.info(
            "%d validations without improvement: from step %d, the learning rate is %g of its peak",
            schedule.plateau_patience,
            progress.step,
            lower,
        )
