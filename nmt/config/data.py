"""conf/data: corpora, their directions, and how they are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nmt.config.direction import Direction
from nmt.config.settings import PositiveFloat, PositiveInt, Settings, Text

# Stands in for a direction that is itself a mistake, while the rest is validated.
UNKNOWN = Direction(source="und", target="und")


class CorpusConfig(Settings):
    """A parallel corpus: line i of a source file is translated by line i of its target file."""

    source: list[Text] = Field(min_length=1, description="Source files, plain or .gz.")
    target: list[Text] = Field(min_length=1, description="Target files, in the same order.")
    direction: Direction = Field(
        description="Its languages, such as en-de; if left out, those of `data.direction`."
    )
    weight: PositiveFloat = Field(
        default=1.0,
        description="Weight of a training corpus in the mix; the weights need not sum to 1.",
    )

    @model_validator(mode="after")
    def _same_number(self) -> CorpusConfig:
        if len(self.source) != len(self.target):
            raise ValueError(
                f"`target` must name as many files as `source` ({len(self.source)}), "
                f"but names {len(self.target)} instead."
            )
        return self


class VocabularyConfig(Settings):
    """How the joint SentencePiece vocabulary is made."""

    size: Annotated[int, Field(ge=300)] = Field(
        description="Number of pieces, 256 byte pieces and 4 special ones included."
    )
    kind: Literal["unigram", "bpe"] = Field(description="SentencePiece's algorithm.")
    character_coverage: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of characters that get a piece; the rest falls back to bytes."
    )
    sample_lines: PositiveInt = Field(
        description="Most lines to train it on, sampled evenly from the training corpora."
    )
    model: str | None = Field(description="An existing SentencePiece model to use instead.")


class FilterConfig(Settings):
    """Which training pairs are left out. Validation and test sets are never filtered."""

    max_tokens: PositiveInt = Field(description="Greatest length of either side, in pieces.")
    max_ratio: Annotated[float, Field(ge=1)] = Field(
        description="Largest ratio of the two lengths, where the longer side has over 10 pieces."
    )
    duplicates: bool = Field(description="Leave out pairs that were seen before.")
    copies: bool = Field(description="Leave out pairs whose two sides are the same.")


class BatchConfig(Settings):
    """How sentence pairs are grouped into batches, one for each optimizer step."""

    tokens: PositiveInt | None = Field(
        description="Budget of a batch: rows × longest row of the longer side, padding included."
    )
    sentences: PositiveInt | None = Field(description="Fixed number of sentence pairs instead.")
    multiple: PositiveInt = Field(
        description="Batches have a multiple of this many rows, so that they can be split evenly."
    )
    pool: PositiveInt = Field(
        description="Pairs that are drawn at random together, then sorted by length into batches."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> BatchConfig:
        if (self.tokens is None) == (self.sentences is None):
            raise ValueError("exactly one of `tokens` and `sentences` must be set.")
        return self


class DataConfig(Settings):
    """conf/data: the corpora and how they are prepared."""

    name: Text = Field(description="Name of this corpus, for reports and the cache.")
    direction: Direction | None = Field(
        description="Direction of the corpora that do not give their own, such as en-de; null: "
        "each gives its own."
    )
    train: dict[str, CorpusConfig] = Field(
        min_length=1, description="Training corpora by name; mixed by their weights."
    )
    valid: dict[str, CorpusConfig] = Field(min_length=1, description="Validation sets by name.")
    test: dict[str, CorpusConfig] = Field(description="Test sets by name.")
    vocabulary: VocabularyConfig
    filter: FilterConfig
    batch: BatchConfig
    cache: Text = Field(description="Folder of vocabularies and token stores, re-used by runs.")

    @property
    def splits(self) -> dict[str, CorpusConfig]:
        """The sets that can be evaluated, by name: validation sets, then test sets."""
        return {**self.valid, **self.test}

    @property
    def directions(self) -> list[Direction]:
        """The directions of all corpora, in order of appearance, without repetition."""
        corpora = [*self.train.values(), *self.splits.values()]
        return list(dict.fromkeys(corpus.direction for corpus in corpora))

    @model_validator(mode="before")
    @classmethod
    def _as_of_version_0_1(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            _reject_old_form(values)
        return values

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _share_direction(cls, corpora: Any, info: ValidationInfo) -> Any:
        # A wrong `direction` is reported once, not again for each corpus that would inherit it.
        shared = info.data.get("direction", UNKNOWN)
        if shared is None or not isinstance(corpora, Mapping):
            return corpora
        return {name: _with_direction(corpus, shared) for name, corpus in corpora.items()}

    @model_validator(mode="after")
    def _names_differ(self) -> DataConfig:
        if both := self.valid.keys() & self.test.keys():
            raise ValueError(
                "`valid` and `test` must have different names, but both have "
                f"`{min(both)}`; rename one of the two."
            )
        return self

    @model_validator(mode="after")
    def _weights_have_effect(self) -> DataConfig:
        for name, corpus in self.splits.items():
            if corpus.weight != 1.0:
                raise ValueError(
                    f"`weight` must be left out of `{name}`, which is not trained on, but is "
                    f"{corpus.weight:g} instead."
                )
        return self


def _with_direction(corpus: Any, direction: Direction) -> Any:
    if isinstance(corpus, Mapping) and corpus.get("direction") is None:
        return {**corpus, "direction": direction}
    return corpus


def _reject_old_form(values: Mapping[str, Any]) -> None:
    """Say how to write what version 0.1 wrote in another way."""
    if values.keys() & {"source_language", "target_language"}:
        raise ValueError(
            "`source_language` and `target_language` must be written as one setting, such as "
            "`direction: en-de`."
        )
    valid = values.get("valid")
    if isinstance(valid, Mapping) and isinstance(valid.get("source"), list):
        raise ValueError(
            "`valid` must give each validation set a name, as `test` does, such as "
            "`valid: {valid: {source: […], target: […]}}`, but has `source` itself instead."
        )
