"""Settings of commands that translate: conf/decode, conf/precision, and how a model is loaded."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
)


class PrecisionConfig(Settings):
    """conf/precision: the number format of weights and activations."""

    name: Literal["auto", "fp32", "bf16", "int8"] = Field(
        description="Number format of weights and activations. int8: only on CPUs; auto: the "
        "fastest on this processor, which is int8 only for model folders with int8 weights."
    )
    emulate: bool = Field(
        description="Whether to allow bf16 on a processor without bf16 instructions, where it is "
        "much slower."
    )


class FloatPrecisionConfig(PrecisionConfig):
    """conf/precision where gradients are computed."""

    name: Literal["fp32", "bf16"] = Field(description="Number format of weights and activations.")


class DecodeConfig(Settings):
    """conf/decode: the search for a translation."""

    beam_size: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of hypotheses kept for each sentence; 1: greedy search."
    )
    length_penalty: Annotated[NonNegativeFloat, Field(le=10)] = Field(
        description="Strength of GNMT's length penalty (alpha)."
    )
    coverage_penalty: Annotated[NonNegativeFloat, Field(le=100)] = Field(
        description="Strength of GNMT's coverage penalty (beta)."
    )
    n_best: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Number of translations returned for each sentence."
    )
    max_source_tokens: Annotated[PositiveInt, Field(le=100_000)] | None = Field(
        description="Longest source that is translated as a whole, in pieces; a longer one is "
        "translated in parts, as texts are; null: what nearly all training sources had at most.",
    )
    max_length_ratio: Annotated[PositiveFloat, Field(le=20)] = Field(
        description="Longest translation, as a multiple of the source's length in pieces."
    )
    max_length_offset: Annotated[NonNegativeInt, Field(le=1000)] = Field(
        description="Number of pieces added to that limit, for short sentences."
    )
    no_repeat_ngram: Annotated[NonNegativeInt, Field(le=100)] = Field(
        description="Length of the n-grams that may occur at most `max_repeats` times in a "
        "translation; 0: no limit.",
    )
    max_repeats: Annotated[PositiveInt, Field(le=100_000)] = Field(
        description="How often such an n-gram may occur."
    )
    batch_sentences: Annotated[PositiveInt, Field(le=100_000)] = Field(
        description="Number of sentences decoded together."
    )
    shortlist: bool = Field(
        description="Whether to restrict translations to likely pieces, if the model folder has a "
        "shortlist and the output layer runs on a CPU."
    )

    @model_validator(mode="after")
    def _n_best_in_beam(self) -> DecodeConfig:
        if self.n_best > self.beam_size:
            raise ValueError(
                f"`n_best` must be at most `beam_size` ({self.beam_size}), "
                f"but is {self.n_best} instead."
            )
        return self


class UseConfig(Settings):
    """How models are loaded."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        description="Device that runs the model; auto: a GPU if there is one."
    )
    plan: str | None = Field(
        description="A plan.json that places layers on several devices; null: all on `device`."
    )
    precision: PrecisionConfig
    threads: Annotated[PositiveInt, Field(le=1024)] | None = Field(
        description="Number of CPU threads; null: PyTorch's default."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.plan is not None and self.device != "auto":
            raise ValueError(
                f"`device` must be auto with a `plan`, which names devices, "
                f"but is {self.device} instead."
            )
        return self


class TranslatorConfig(UseConfig):
    """How a command that uses one model loads it."""

    folder: Text = Field(description="Model folder, such as runs/demo/best.")
