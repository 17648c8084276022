"""Settings of training: conf/train.yaml, conf/optimizer and conf/schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.config.data import DataConfig
from nmt.config.decode import DecodeConfig, FloatPrecisionConfig
from nmt.config.direction import BLEU_TOKENIZER, BleuTokenizer, join_directions
from nmt.config.model import ModelConfig
from nmt.config.parallel import DeepSpeedConfig, ParallelConfig, WavefrontConfig
from nmt.config.placement import PlacementConfig
from nmt.config.search import SearchConfig
from nmt.config.settings import (
    Fraction,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
)
from nmt.errors import RuleError
from nmt.rules.known import read_rule

VALIDATION_METRICS = ("bleu", "chrf", "loss")


class OptimizerConfig(Settings):
    """conf/optimizer: the optimizer."""

    name: Literal["adam", "sgd", "adagrad", "adafactor", "rule"] = Field(
        description="adam: AdamW; sgd: plain stochastic gradient descent; adagrad: Adagrad; "
        "adafactor: Adafactor, which keeps a row and a column of second moments for each matrix; "
        "rule: what `rule` says."
    )
    rule: Text | None = Field(
        description="Direction of a step as an expression of the gradient g, its means m and v, "
        "the weight w and more, such as `g * exp(sign(g) * sign(m))`, or the name of a known one; "
        "null: with the other optimizers."
    )
    learning_rate: PositiveFloat = Field(description="Peak learning rate.")
    betas: tuple[Fraction, Fraction] = Field(description="Decay rates of Adam's two moments.")
    epsilon: PositiveFloat = Field(description="Term added to the denominator of Adam or Adagrad.")
    weight_decay: NonNegativeFloat = Field(
        description="Weight decay: decoupled with adam (AdamW), adafactor and rule, an L2 penalty "
        "with sgd and adagrad."
    )
    clip_norm: PositiveFloat | None = Field(
        description="Norm to which the gradient of the whole model is clipped; null: no clipping."
    )

    @model_validator(mode="after")
    def _a_rule(self) -> OptimizerConfig:
        if (self.name == "rule") != (self.rule is not None):
            raise ValueError(
                "`rule` must be set with `optimizer=rule` and with no other, but is "
                f"{self.rule!r} with {self.name} instead."
            )
        if self.rule is not None:
            try:
                read_rule(self.rule, self.betas)
            except RuleError as error:
                raise ValueError(f"`rule` must be an update rule. {error}") from None
        return self


class ScheduleConfig(Settings):
    """conf/schedule: the learning rate schedule."""

    name: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = Field(
        description="How the learning rate decays after the warm-up; plateau: when validations no "
        "longer improve `training.best_by`."
    )
    warmup_steps: NonNegativeInt = Field(
        description="Number of steps over which the learning rate rises linearly from 0."
    )
    decay_start: Fraction = Field(
        description="Fraction of the run after which the cosine decay begins."
    )
    final_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Learning rate at the end of the cosine decay, or the lowest with plateau, as "
        "a fraction of its peak."
    )
    plateau_patience: PositiveInt = Field(
        description="Number of validations in a row without improvement after which plateau "
        "lowers the learning rate; then as many must follow before it is lowered again."
    )
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="What plateau multiplies the learning rate by each time."
    )


class TrainingPrecisionConfig(FloatPrecisionConfig):
    """conf/precision in training, with clipping that prepares a model for int8."""

    clip: PositiveFloat | None = Field(
        description="Absolute value to which layer outputs are clipped, so that int8 loses no "
        "quality; GNMT uses 1; null: no clipping."
    )
    clip_start: PositiveFloat = Field(
        description="Bound of the clipping at the first step; GNMT uses 8."
    )
    clip_steps: NonNegativeInt = Field(
        description="Number of steps over which the bound shrinks to `clip`."
    )
    clip_cells_from: NonNegativeInt | None = Field(
        description="Step from which LSTM cells are clipped too, which is several times slower; "
        "null: never."
    )

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        if self.clip is not None and self.clip_start < self.clip:
            raise ValueError(
                f"`clip_start` must be at least `clip` ({self.clip:g}), but is "
                f"{self.clip_start:g} instead."
            )
        if self.clip is None and self.clip_cells_from is not None:
            raise ValueError(
                "`clip_cells_from` must be null without `clip`, but is "
                f"{self.clip_cells_from} instead."
            )
        return self


class AverageConfig(Settings):
    """Averaging of weights. The averaged model is validated, and published if it is the best."""

    kind: Literal["none", "checkpoints", "weights"] = Field(
        description="none: no averaging; checkpoints: the mean of the last checkpoints, at the end "
        "of the run; weights: an exponential moving average during the run."
    )
    checkpoints: PositiveInt = Field(description="Number of checkpoints in the mean.")
    decay: Fraction = Field(description="Decay of the moving average at each update.")
    every: PositiveInt = Field(
        description="Number of steps between two updates of the moving average."
    )


class HalvingConfig(Settings):
    """Successive halving: a run that is worse than its rivals after part of its training ends."""

    folder: Text | None = Field(
        description="Folder where a run and its rivals keep their losses; null: no halving."
    )
    by: Literal["seconds", "tokens"] = Field(description="Unit of `rungs`.")
    rungs: list[PositiveFloat] = Field(
        description="Seconds or target tokens after which losses are compared."
    )
    keep: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Fraction of the runs that go on at each rung: those with the lowest losses of "
        "all that have reached it so far."
    )


class TrainingConfig(Settings):
    """The `training` part of conf/train.yaml."""

    max_steps: PositiveInt | None = Field(
        description="Stop after this many optimizer steps; null: no limit."
    )
    max_epochs: PositiveFloat | None = Field(
        description="Stop after this many epochs of the training data; null: no limit."
    )
    max_tokens: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        description="Stop after this many target tokens; null: no limit."
    )
    max_minutes: Annotated[PositiveFloat, Field(le=100_000_000)] | None = Field(
        description="Stop after this many minutes, including preparation; null: no limit."
    )
    label_smoothing: Fraction = Field(
        description="Probability mass that is spread uniformly over the vocabulary."
    )
    validate_every: PositiveInt = Field(description="Number of steps between two validations.")
    validate_sentences: NonNegativeInt = Field(
        description="Number of sentences of each validation set, from its start, that are "
        "translated at each validation; 0: only losses are computed."
    )
    validate_first: NonNegativeInt = Field(description="Step before which there is no validation.")
    checkpoint_every: PositiveInt = Field(description="Number of steps between two checkpoints.")
    keep_checkpoints: PositiveInt = Field(
        description="Number of checkpoints to keep; older ones are deleted."
    )
    best_by: Text = Field(
        description="Metric that decides which model is the best: bleu, chrf or loss, averaged "
        "over the validation sets, or that of one set, such as NAME.bleu."
    )
    patience: PositiveInt | None = Field(
        description="Stop after this many validations without improvement; null: never."
    )
    log_every: PositiveInt = Field(
        description="Number of steps between two lines of training metrics in metrics.jsonl."
    )
    log_seconds: PositiveFloat = Field(
        description="Seconds between two lines of progress in the log, between validations; on a "
        "terminal there is a bar instead."
    )
    bleu_tokenizer: BleuTokenizer = Field(description=BLEU_TOKENIZER)
    average: AverageConfig
    halving: HalvingConfig


class TrainConfig(Settings):
    """conf/train.yaml: one training run."""

    name: Name = Field(description="Name of the run and of its folder.")
    runs: Text = Field(description="Folder that holds all runs.")
    seed: NonNegativeInt = Field(description="Seed of initial weights, shuffling and dropout.")
    resume: Literal["auto", "never", "must"] = Field(
        description="auto: resume from the last checkpoint if there is one; never: fail if the run "
        "exists; must: fail if there is no checkpoint."
    )
    distill: Text | None = Field(
        description="Model folder of a teacher, whose translations replace the targets of the "
        "training corpora; null: no teacher."
    )
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    parallel: ParallelConfig
    placement: PlacementConfig
    precision: TrainingPrecisionConfig
    decode: DecodeConfig
    training: TrainingConfig
    search: SearchConfig | None = Field(
        default=None, description="A search (`-m hydra/sweeper=…`); null: a single run."
    )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.runs) / self.name

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        mistakes = []
        micro_batches = self.parallel.replicas * self.parallel.micro_batches
        if self.data.batch.multiple % micro_batches:
            mistakes.append(
                f"`data.batch.multiple` must be a multiple of `parallel.replicas` × "
                f"`parallel.micro_batches` ({micro_batches}), but is {self.data.batch.multiple} "
                "instead."
            )
        training = self.training
        lengths = (training.max_steps, training.max_epochs, training.max_tokens)
        if all(limit is None for limit in (*lengths, training.max_minutes)):
            mistakes.append(
                "one of `training.max_steps`, `training.max_epochs`, `training.max_tokens` and "
                "`training.max_minutes` must be set."
            )
        elif self.schedule.name in ("inverse_sqrt", "cosine") and lengths == (None, None, None):
            mistakes.append(
                "one of `training.max_steps`, `training.max_epochs` and `training.max_tokens` must "
                f"be set with `schedule={self.schedule.name}`, which does not depend on the clock."
            )
        if self.precision.clip_cells_from is not None and not self.model.has_cells:
            mistakes.append(
                "`precision.clip_cells_from` must be null for a model whose recurrent state is "
                f"within 1, but is {self.precision.clip_cells_from} instead."
            )
        parallel = self.parallel
        flat = isinstance(parallel, DeepSpeedConfig) and (
            self.precision.name != "fp32" or (parallel.zero and parallel.replicas > 1)
        )
        if flat and self.optimizer.name == "adafactor":
            mistakes.append(
                "`optimizer` must not be adafactor with `parallel=deepspeed` in bf16 or with "
                "`parallel.zero=1`, where DeepSpeed hands all matrices over as one flat vector; "
                "use `parallel=wavefront` or another optimizer."
            )
        mistakes += [*self._placement_mistakes(), *self._directions_and_scores()]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _directions_and_scores(self) -> list[str]:
        mistakes, directions = [], self.data.directions
        if len(directions) > 1:
            mistakes.append(
                "`data` must have corpora of a single direction, since a model is trained for one, "
                f"but has {join_directions(directions)} instead."
            )
        if self.training.validate_sentences == 0 and (
            self.training.best_by.rpartition(".")[2] != "loss"
        ):
            mistakes.append(
                "`training.best_by` must be loss with `training.validate_sentences=0`, but is "
                f"{self.training.best_by} instead."
            )
        sets = [f"{name}.{metric}" for name in self.data.valid for metric in VALIDATION_METRICS]
        if self.training.best_by not in (*VALIDATION_METRICS, *sets):
            mistakes.append(
                f"`training.best_by` must be one of {', '.join([*VALIDATION_METRICS, *sets])}, "
                f"but is {self.training.best_by} instead."
            )
        return mistakes

    def _placement_mistakes(self) -> list[str]:
        parallel, planner = self.parallel, self.placement.planner
        if isinstance(parallel, WavefrontConfig) and parallel.tune and planner in ("auto", "file"):
            return [
                "`placement.planner` must not be auto or file with `parallel.tune`, which chooses "
                f"the numbers of micro-batches and chunks itself, but is {planner} instead."
            ]
        if parallel.executor == "local" and planner != "expert":
            return [
                "`placement` must be expert with `parallel=local`, where nothing is placed, but is "
                f"{planner} instead."
            ]
        return []
