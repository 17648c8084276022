"""Settings of conf/parallel, with one class for each executor.

Every class has, as a setting or as a property, `stages`, `replicas`, `processes` (the number of
processes that train together), `micro_batches`, `chunks`, and `rule` (by which each device orders
its tasks).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nmt.config.settings import PositiveInt, Settings, Text

Rule = Literal["gpipe", "1f1b", "wavefront"]


class ExecutorConfig(Settings):
    """conf/parallel: which executor trains the model, on how many devices."""

    executor: Text = Field(description="Executor that trains the model.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="Kind of device; auto: CUDA if there is a GPU for every process."
    )
    micro_batches: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of micro-batches that each replica's batch is split into."
    )
    trace: bool = Field(
        description="Whether to record the timeline of a few steps, as trace.html, trace.png and "
        "trace.json."
    )
    threads: Annotated[PositiveInt, Field(le=1024)] | None = Field(
        description="CPU threads of each process; null: the number of cores divided by that of "
        "processes."
    )


class LocalConfig(ExecutorConfig):
    """conf/parallel: one process on one device."""

    executor: Literal["local"] = Field(description="All layers in one process, on one device.")

    @property
    def stages(self) -> int:
        """Number of devices that the layers are placed on: 1."""
        return 1

    @property
    def replicas(self) -> int:
        """Number of data parallel replicas: 1."""
        return 1

    @property
    def processes(self) -> int:
        """Number of processes that train together: 1."""
        return 1

    @property
    def chunks(self) -> int:
        """Time is not split."""
        return 1

    @property
    def rule(self) -> Rule:
        """The rule by which devices order their tasks, which makes no difference for one."""
        return "1f1b"


class DeepSpeedConfig(ExecutorConfig):
    """conf/parallel: DeepSpeed's pipeline engine."""

    executor: Literal["deepspeed"] = Field(
        description="DeepSpeed's pipeline engine: consecutive layers on each device."
    )
    stages: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of devices that the layers are placed on."
    )
    replicas: Annotated[PositiveInt, Field(le=10_000)] = Field(
        description="Number of data parallel replicas of the whole pipeline."
    )
    zero: Literal[0, 1] = Field(
        description="ZeRO stage: 1 shards the optimizer's state among the replicas."
    )

    @property
    def processes(self) -> int:
        """Number of processes: one for each stage of each replica."""
        return self.stages * self.replicas

    @property
    def chunks(self) -> int:
        """Time is not split."""
        return 1

    @property
    def rule(self) -> Rule:
        """The rule of DeepSpeed's training schedule."""
        return "1f1b"

    @model_validator(mode="after")
    def _has_others_to_share_with(self) -> DeepSpeedConfig:
        if self.zero and self.replicas == 1:
            raise ValueError(
                "`zero` must be 0 with a single replica, which has no other to shard with, but is "
                f"{self.zero} instead; set `replicas` to 2 or more."
            )
        return self


class WavefrontConfig(ExecutorConfig):
    """conf/parallel: the wavefront pipeline."""

    executor: Literal["wavefront"] = Field(
        description="The wavefront pipeline: any layer on any device, with batches split into "
        "micro-batches and time into chunks."
    )
    stages: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of devices that the layers are placed on."
    )
    replicas: Annotated[PositiveInt, Field(le=10_000)] = Field(
        description="Number of data parallel replicas of the whole pipeline."
    )
    chunks: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of chunks that time is split into."
    )
    schedule: Rule = Field(description="Rule by which each device orders its tasks.")
    one_process: bool = Field(
        description="Whether one process drives all devices of a replica; false: one process for "
        "each device."
    )
    tune: bool = Field(
        description="Whether to measure several numbers of micro-batches and chunks, and a single "
        "process with all threads, at the start of a run, and train with the fastest."
    )

    @property
    def processes(self) -> int:
        """Number of processes: one for each device of each replica, or one for each replica."""
        return self.replicas * (1 if self.one_process else self.stages)

    @property
    def rule(self) -> Rule:
        """The rule by which each device orders its tasks."""
        return self.schedule


ParallelConfig = Annotated[
    LocalConfig | DeepSpeedConfig | WavefrontConfig, Field(discriminator="executor")
]
