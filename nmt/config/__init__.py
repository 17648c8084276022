"""The settings of `conf/` as strict classes, one for each group of settings.

YAML is turned into one of these classes once, by `read`, and all other code takes typed, validated
values. Unknown keys, wrong types and values out of range are reported together, each in a sentence
with its path. Defaults are only in `conf/*.yaml`, so that users can see all of them there; the
classes have defaults only for groups that are elements of a list or dictionary.
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
from nmt.config.direction import BleuTokenizer, Direction, find_direction, join_directions
from nmt.config.model import GnmtConfig, ModelConfig
from nmt.config.parallel import (
    DeepSpeedConfig,
    LocalConfig,
    ParallelConfig,
    WavefrontConfig,
)
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
from nmt.config.search import (
    BudgetConfig,
    CellSpaceConfig,
    ChoiceConfig,
    DimensionConfig,
    MethodConfig,
    PruningConfig,
    RangeConfig,
    RuleSpaceConfig,
    SearchConfig,
    TransferConfig,
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
    HalvingConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    TrainingConfig,
)

__all__ = [
    "VALIDATION_METRICS",
    "AverageConfig",
    "BatchConfig",
    "BleuTokenizer",
    "BudgetConfig",
    "CellSpaceConfig",
    "ChoiceConfig",
    "ClusterConfig",
    "CorpusConfig",
    "DataConfig",
    "DecodeConfig",
    "DeepSpeedConfig",
    "DeviceConfig",
    "DimensionConfig",
    "Direction",
    "EvaluateConfig",
    "ExportConfig",
    "FilterConfig",
    "Fraction",
    "GnmtConfig",
    "HalvingConfig",
    "LearningConfig",
    "LimitsConfig",
    "LinkConfig",
    "LocalConfig",
    "MethodConfig",
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
    "PruningConfig",
    "RangeConfig",
    "RuleSpaceConfig",
    "ScheduleConfig",
    "SearchConfig",
    "ServeConfig",
    "Settings",
    "ShortlistConfig",
    "Text",
    "TrainConfig",
    "TrainingConfig",
    "TransferConfig",
    "TranslateConfig",
    "TranslatorConfig",
    "UseConfig",
    "VocabularyConfig",
    "WavefrontConfig",
    "describe",
    "find_direction",
    "join_directions",
    "read",
]
