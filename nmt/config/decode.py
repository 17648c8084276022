"""Settings of all commands that translate: conf/decode, conf/precision, and loading a model."""

from __future__ import annotations

from typing import Literal, Self

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
        description="Format of weights and activations: int8 is for CPUs; auto takes the fastest "
        "on this processor, int8 only for model folders with int8 weights."
    )
    emulate: bool = Field(
        description="Allow bf16 on a processor without bf16 instructions, where it is much slower."
    )


class FloatPrecisionConfig(PrecisionConfig):
    """conf/precision where gradients are computed."""

    name: Literal["fp32", "bf16"] = Field(description="Format of weights and activations.")


class DecodeConfig(Settings):
    """conf/decode: the search for a translation."""

    beam_size: PositiveInt = Field(description="Hypotheses kept per sentence; 1 is greedy.")
    length_penalty: NonNegativeFloat = Field(description="GNMT's alpha.")
    coverage_penalty: NonNegativeFloat = Field(description="GNMT's beta.")
    n_best: PositiveInt = Field(description="Translations returned per sentence.")
    max_length_ratio: PositiveFloat = Field(
        description="Longest translation, as a multiple of the source's length in pieces."
    )
    max_length_offset: NonNegativeInt = Field(
        description="Pieces added to that limit, for short sentences."
    )
    no_repeat_ngram: NonNegativeInt = Field(
        description="n-grams of this many pieces occur at most `max_repeats` times; 0: no limit."
    )
    max_repeats: PositiveInt = Field(description="How often an n-gram may occur.")
    batch_sentences: PositiveInt = Field(description="Sentences decoded together.")
    shortlist: bool = Field(
        description="Restrict translations to likely pieces, where the model folder has a "
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

    device: Literal["auto", "cpu", "cuda"] = Field(description="Where the model runs.")
    plan: str | None = Field(
        description="A plan.json that places layers on several devices; null: all on `device`."
    )
    precision: PrecisionConfig
    threads: PositiveInt | None = Field(description="CPU threads; null: PyTorch's choice.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.plan is not None and self.device != "auto":
            raise ValueError(
                f"`device` must be auto with a `plan`, which names devices, "
                f"but is {self.device} instead."
            )
        return self


class TranslatorConfig(UseConfig):
    """How a command that translates with one model loads it."""

    folder: Text = Field(description="A model folder, such as runs/demo/best.")
