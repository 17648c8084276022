"""Every setting of `conf/`, as strict dataclasses: one class for one configuration group.

YAML becomes one of these classes once, at the door (`read`), and the rest of the code takes typed,
validated values. An unknown key, a wrong type and a value out of range are all reported together,
each in one sentence with its path. Defaults live in `conf/*.yaml` alone, so that what a user reads
there is what happens; the classes have none, except where a group may be left out.
"""

from nmt.config.commands import (
    EvaluateConfig,
    ExportConfig,
    LimitsConfig,
    ServeConfig,
    ShortlistConfig,
    TranslateConfig,
)
from nmt.config.data import BatchConfig, CorpusConfig, DataConfig, FilterConfig, VocabularyConfig
from nmt.config.decode import DecodeConfig, PrecisionConfig, TranslatorConfig, UseConfig
from nmt.config.direction import Direction, find_direction, join_directions
from nmt.config.model import ModelConfig
from nmt.config.placement import (
    ClusterConfig,
    DeviceConfig,
    LearningConfig,
    LinkConfig,
    PairConfig,
    PlaceConfig,
    PlacementConfig,
    PlannerName,
)
from nmt.config.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
    describe,
    read,
)
from nmt.config.training import (
    VALIDATION_METRICS,
    AverageConfig,
    OptimizerConfig,
    ParallelConfig,
    ScheduleConfig,
    TrainConfig,
    TrainingConfig,
)

__all__ = [
    "VALIDATION_METRICS",
    "AverageConfig",
    "BatchConfig",
    "ClusterConfig",
    "CorpusConfig",
    "DataConfig",
    "DecodeConfig",
    "DeviceConfig",
    "Direction",
    "EvaluateConfig",
    "ExportConfig",
    "FilterConfig",
    "Fraction",
    "LearningConfig",
    "LimitsConfig",
    "LinkConfig",
    "ModelConfig",
    "NonNegativeFloat",
    "NonNegativeInt",
    "OptimizerConfig",
    "PairConfig",
    "ParallelConfig",
    "PlaceConfig",
    "PlacementConfig",
    "PlannerName",
    "PositiveFloat",
    "PositiveInt",
    "PrecisionConfig",
    "ScheduleConfig",
    "ServeConfig",
    "Settings",
    "ShortlistConfig",
    "Text",
    "TrainConfig",
    "TrainingConfig",
    "TranslateConfig",
    "TranslatorConfig",
    "UseConfig",
    "VocabularyConfig",
    "describe",
    "find_direction",
    "join_directions",
    "read",
]
