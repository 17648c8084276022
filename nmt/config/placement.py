"""Settings of conf/placement, conf/cluster and conf/place.yaml: which device runs each layer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nmt.config.data import DataConfig
from nmt.config.decode import FloatPrecisionConfig
from nmt.config.model import Depth, ModelConfig
from nmt.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
)

PlannerName = Literal[
    "expert",
    "auto",
    "file",
    "single",
    "equal_layers",
    "split",
    "folded",
    "parameters",
    "exact",
    "random",
    "annealing",
    "reinforce",
    "policy",
]


class DeviceConfig(Settings):
    """One device of a cluster."""

    name: Text = Field(
        description="Name that torch gives it on its machine, such as cpu or cuda:0."
    )
    host: str = Field(
        default="",
        description="Name of its machine, chosen freely; empty: all devices are on one machine.",
    )
    speed: PositiveFloat = Field(
        default=1.0, description="Speed relative to the device that the profile was measured on."
    )
    memory: PositiveFloat | None = Field(
        default=None, description="Memory for parameters and activations, in GB; null: no limit."
    )


class LinkConfig(Settings):
    """A link between two devices."""

    bandwidth: PositiveFloat = Field(description="Bandwidth of each direction in GB/s.")
    latency: NonNegativeFloat = Field(description="Latency of the smallest message, in seconds.")


class PairConfig(LinkConfig):
    """A link between two devices that differs from the other links."""

    between: list[NonNegativeInt] = Field(
        min_length=2, max_length=2, description="Positions of the two devices in `devices`, from 0."
    )


class ClusterConfig(Settings):
    """conf/cluster: the devices to plan for, and the links between them."""

    name: Text = Field(description="Name of this cluster, for reports.")
    devices: list[DeviceConfig] = Field(
        min_length=1, description="Devices, in the order of a pipeline."
    )
    link: LinkConfig = Field(description="The link between any two devices.")
    pairs: list[PairConfig] = Field(
        description="Links between two devices that differ from `link`."
    )

    @model_validator(mode="after")
    def _pairs_are_there(self) -> ClusterConfig:
        for pair in self.pairs:
            if max(pair.between) >= len(self.devices):
                raise ValueError(
                    f"`pairs` must name two of {len(self.devices)} devices, by positions from 0, "
                    f"but names {pair.between} instead."
                )
        return self


class LearningConfig(Settings):
    """How REINFORCE trains a placement policy."""

    samples: Annotated[PositiveInt, Field(le=100_000)] = Field(
        description="Placements drawn for each update."
    )
    learning_rate: PositiveFloat = Field(description="Learning rate of the policy.")
    entropy: NonNegativeFloat = Field(
        description="Weight of the entropy bonus at the start; it falls to 0."
    )
    hidden: Annotated[PositiveInt, Field(le=65_536)] = Field(
        description="Hidden units of the policy network."
    )


class PlacementConfig(Settings):
    """conf/placement: the planner, and its budget."""

    planner: PlannerName = Field(
        description="How to find a plan. expert: the best of contiguous runs and GNMT's folded "
        "placement; auto: annealing that starts from there, over micro-batches and chunks too; "
        "file: read it from `file`."
    )
    file: Text | None = Field(description="The plan.json that the planner `file` reads.")
    policy: Text | None = Field(
        description="A policy.safetensors of `nmt-place mode=pretrain`, which the planner `policy` "
        "uses and `reinforce` starts from; null: `reinforce` starts from scratch."
    )
    evaluations: Annotated[PositiveInt, Field(le=10_000_000)] = Field(
        description="Largest number of plans to try."
    )
    minutes: Annotated[PositiveFloat, Field(le=100_000)] | None = Field(
        description="Longest time of the search, in minutes; null: no limit."
    )
    learning: LearningConfig

    @property
    def seconds(self) -> float:
        """Longest time of the search, in seconds."""
        return float("inf") if self.minutes is None else 60 * self.minutes

    @model_validator(mode="after")
    def _a_file_to_read(self) -> PlacementConfig:
        if (self.planner == "file") != (self.file is not None):
            raise ValueError(
                "`file` must be set with the planner `file` and with no other planner, but is "
                f"{self.file!r} with `{self.planner}` instead."
            )
        if self.planner == "policy" and self.policy is None:
            raise ValueError("`policy` must be set with the planner `policy`, but is null instead.")
        return self


class PretrainConfig(Settings):
    """The models that a placement policy is pretrained on."""

    layers: list[Depth] = Field(
        min_length=1,
        description="Depths of the models: this many layers in the encoder and in the decoder.",
    )
    updates: Annotated[PositiveInt, Field(le=10_000_000)] = Field(
        description="Updates of the policy, on the models in turn."
    )


class PlaceConfig(Settings):
    """conf/place.yaml: planning a placement."""

    mode: Literal["plan", "profile", "probe", "compare", "pretrain"] = Field(
        description="plan: make a plan; profile: measure the layers; probe: measure the links; "
        "compare: compare planners; pretrain: train a policy on models of several depths."
    )
    profile: str | None = Field(
        description="Costs to plan with: a profile.json, or PipeDream's graph.txt; null: measure "
        "the model's layers on this machine."
    )
    shards: Annotated[NonNegativeInt, Field(le=1024)] = Field(
        description="Split each recurrent layer in two and the output layer into this many shards; "
        "0: keep layers whole. Plans for parts of layers can only be simulated."
    )
    objective: Literal["step", "bottleneck"] = Field(
        description="What to minimise: the simulated time of a step, or the work of the busiest "
        "device without messages."
    )
    measured: bool = Field(
        description="Whether to evaluate plans by running them on this machine instead of by "
        "simulation."
    )
    micro_batches: list[Annotated[PositiveInt, Field(le=1000)]] = Field(
        min_length=1, description="Numbers of micro-batches to choose from."
    )
    chunks: list[Annotated[PositiveInt, Field(le=1000)]] = Field(
        min_length=1, description="Numbers of chunks to choose from."
    )
    schedule: Literal["gpipe", "1f1b", "wavefront"] = Field(
        description="Rule by which each device orders its tasks."
    )
    planners: list[PlannerName] = Field(
        min_length=1, description="Planners to compare with `mode=compare`."
    )
    seeds: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of seeds for each randomized planner with `mode=compare`."
    )
    seed: NonNegativeInt = Field(description="First seed.")
    threads: Annotated[PositiveInt, Field(le=1024)] = Field(
        description="CPU threads of a device while it is measured."
    )
    output: Text = Field(description="Folder for plan.json, profile.json, tables and plots.")
    model: ModelConfig
    data: DataConfig
    precision: FloatPrecisionConfig
    cluster: ClusterConfig
    placement: PlacementConfig
    pretrain: PretrainConfig

    @model_validator(mode="after")
    def _fits(self) -> PlaceConfig:
        if self.mode == "pretrain" and self.profile is not None:
            raise ValueError(
                "`profile` must be null with `mode=pretrain`, which measures models of several "
                f"depths, but is {self.profile!r} instead."
            )
        if "policy" in self.planners and self.placement.policy is None:
            raise ValueError(
                "`placement.policy` must be set if `planners` has policy, but is null instead."
            )
        if "file" in self.planners:
            raise ValueError(
                "`planners` must be planners that search for a plan, but file is among them."
            )
        if self.measured and self.shards:
            raise ValueError(
                "`shards` must be 0 with `measured`, since no executor runs parts of layers, but "
                f"is {self.shards} instead."
            )
        if self.measured and self.profile is not None:
            raise ValueError(
                "`profile` must be null with `measured`, which runs the model's own layers, but is "
                f"{self.profile!r} instead."
            )
        return self
