"""conf/parallel: one class for each executor, with the settings that it has.

All of them have, as a setting or as a property: `stages`, `replicas`, `processes` (how many train
together), `micro_batches`, `chunks`, and `rule` (of each device's order of work).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nmt.config.settings import PositiveInt, Settings, Text

Rule = Literal["gpipe", "1f1b", "wavefront"]


class ExecutorConfig(Settings):
    """conf/parallel: which executor trains the model, on how many devices."""

    executor: Text = Field(description="What trains the model.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="Kind of device; auto: CUDA where there is a GPU for every process."
    )
    micro_batches: PositiveInt = Field(
        description="Micro-batches that each replica's batch is split into."
    )
    trace: bool = Field(
        description="Record what each device does in a few steps: trace.html, .png and .json."
    )
    threads: PositiveInt | None = Field(
        description="CPU threads of a process; null: the cores divided by the processes."
    )


class LocalConfig(ExecutorConfig):
    """conf/parallel: one process on one device."""

    executor: Literal["local"] = Field(description="All layers in one process, on one device.")

    @property
    def stages(self) -> int:
        """One device."""
        return 1

    @property
    def replicas(self) -> int:
        """One model."""
        return 1

    @property
    def processes(self) -> int:
        """One process."""
        return 1

    @property
    def chunks(self) -> int:
        """Time is not split."""
        return 1

    @property
    def rule(self) -> Rule:
        """One device has one order."""
        return "1f1b"


class DeepSpeedConfig(ExecutorConfig):
    """conf/parallel: DeepSpeed's pipeline engine."""

    executor: Literal["deepspeed"] = Field(
        description="Consecutive layers in a process for each stage, by DeepSpeed's engine."
    )
    stages: PositiveInt = Field(description="Devices that the layers are placed on.")
    replicas: PositiveInt = Field(description="Data parallel replicas of the whole pipeline.")
    zero: Literal[0, 1] = Field(
        description="ZeRO stage: 1 shards the optimizer's state among the replicas."
    )

    @property
    def processes(self) -> int:
        """One for each stage of each replica."""
        return self.stages * self.replicas

    @property
    def chunks(self) -> int:
        """Time is not split."""
        return 1

    @property
    def rule(self) -> Rule:
        """That of DeepSpeed's training schedule."""
        return "1f1b"

    @model_validator(mode="after")
    def _has_others_to_share_with(self) -> DeepSpeedConfig:
        if self.zero and self.replicas == 1:
            raise ValueError(
                "`zero` must be 0 with a single replica, which has nothing to shard, but is "
                f"{self.zero} instead; set `replicas` to 2 or more."
            )
        return self


class WavefrontConfig(ExecutorConfig):
    """conf/parallel: the wavefront pipeline."""

    executor: Literal["wavefront"] = Field(
        description="Any layer on any device, by our own pipeline along the batch and along time."
    )
    stages: PositiveInt = Field(description="Devices that the layers are placed on.")
    replicas: PositiveInt = Field(description="Data parallel replicas of the whole pipeline.")
    chunks: PositiveInt = Field(description="Chunks that time is split into.")
    schedule: Rule = Field(description="Rule of each device's order of work.")
    one_process: bool = Field(
        description="One process drives all devices of a replica, instead of one each."
    )
    tune: bool = Field(
        description="Measure which numbers of micro-batches and chunks are the fastest, and one "
        "process with all threads."
    )

    @property
    def processes(self) -> int:
        """One for each device of each replica, or one for each replica."""
        return self.replicas * (1 if self.one_process else self.stages)

    @property
    def rule(self) -> Rule:
        """The schedule."""
        return self.schedule


ParallelConfig = Annotated[
    LocalConfig | DeepSpeedConfig | WavefrontConfig, Field(discriminator="executor")
]
