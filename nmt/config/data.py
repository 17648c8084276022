"""Settings of conf/data: corpora, their directions, and how they are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nmt.config.direction import Direction
from nmt.config.settings import Name, PositiveFloat, PositiveInt, Settings, Text

# Replaces an invalid direction while the rest is validated.
UNKNOWN = Direction(source="und", target="und")


class CorpusConfig(Settings):
    """A parallel corpus: line i of a target file translates line i of its source file."""

    source: list[Text] = Field(
        min_length=1, description="Source files, plain or .gz; a single one needs no list."
    )
    target: list[Text] = Field(
        default=[],
        description="Target files, in the same order; left out if both sides are `columns` of the "
        "source files.",
    )
    columns: Annotated[list[PositiveInt | None], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="Columns of source and target in files with tabs (TSV), from 1, such as "
        "[1, 2]; null in the list: whole lines of that side; null: of both.",
    )
    direction: Direction = Field(
        description="Source and target language, such as en-de; if left out, `data.direction`."
    )
    weight: PositiveFloat = Field(
        default=1.0,
        description="Relative frequency of a training corpus in the mix; the weights need not sum "
        "to 1.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        made = dict(values)
        for side in ("source", "target"):
            if isinstance(made.get(side), str):
                made[side] = [made[side]]
        if made.get("target") is None and "source" in made:
            if made.get("columns") is None:
                raise ValueError(
                    "`target` must be set, but is missing; set `columns`, such as [1, 2], if "
                    "both sides are in the source files."
                )
            made["target"] = made["source"]
        return made

    @property
    def column_of_source(self) -> int | None:
        """The column of source files that has the text, from 1; None: whole lines."""
        return self.columns[0] if self.columns else None

    @property
    def column_of_target(self) -> int | None:
        """The column of target files that has the text, from 1; None: whole lines."""
        return self.columns[1] if self.columns else None

    @model_validator(mode="after")
    def _same_number(self) -> CorpusConfig:
        if len(self.source) != len(self.target):
            raise ValueError(
                f"`target` must name as many files as `source` ({len(self.source)}), "
                f"but names {len(self.target)} instead."
            )
        return self


class VocabularyConfig(Settings):
    """How the joint SentencePiece vocabulary is trained."""

    size: Annotated[int, Field(ge=300, le=1_000_000)] = Field(
        description="Number of pieces, including 256 byte pieces and 4 special ones."
    )
    kind: Literal["unigram", "bpe"] = Field(description="Algorithm of SentencePiece.")
    character_coverage: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Fraction of the text's characters that get pieces of their own; rarer ones "
        "are written as bytes."
    )
    sample_lines: PositiveInt = Field(
        description="Most lines to train it on, sampled uniformly from the training corpora."
    )
    model: str | None = Field(
        description="Existing SentencePiece model to use; null: train a new one."
    )


class FilterConfig(Settings):
    """Which training pairs are left out. Validation and test sets are never filtered."""

    max_tokens: PositiveInt = Field(description="Longest sentence on either side, in pieces.")
    max_ratio: Annotated[float, Field(ge=1, le=1000)] = Field(
        description="Largest ratio of the lengths of both sides, if the longer one has more than "
        "10 pieces."
    )
    duplicates: bool = Field(description="Whether to leave out repetitions of a pair.")
    copies: bool = Field(description="Whether to leave out pairs with identical sides.")


class BatchConfig(Settings):
    """How sentence pairs are grouped into batches, one for each optimizer step."""

    tokens: PositiveInt | None = Field(
        description="Largest size of a batch: sentence pairs × length of the longest sentence on "
        "either side; null: `sentences` is set."
    )
    sentences: PositiveInt | None = Field(
        description="Number of sentence pairs in a batch; null: `tokens` is set."
    )
    multiple: PositiveInt = Field(
        description="The number of sentence pairs in a batch is a multiple of this number, so that "
        "a batch can be split evenly."
    )
    pool: PositiveInt = Field(
        description="Number of pairs that are drawn at random, and then sorted by length and split "
        "into batches."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> BatchConfig:
        if (self.tokens is None) == (self.sentences is None):
            raise ValueError("exactly one of `tokens` and `sentences` must be set.")
        return self


class DataConfig(Settings):
    """conf/data: the corpora and how they are prepared."""

    name: Name = Field(description="Name of this configuration, for reports and the log.")
    direction: Direction | None = Field(
        description="Direction of the corpora that have none of their own, such as en-de; null: "
        "each corpus has its own."
    )
    train: dict[Name, CorpusConfig] = Field(
        min_length=1, description="Training corpora by name, mixed by their weights."
    )
    valid: dict[Name, CorpusConfig] = Field(min_length=1, description="Validation sets by name.")
    test: dict[Name, CorpusConfig] = Field(
        description="Test sets by name; one whose files are null is left out."
    )
    vocabulary: VocabularyConfig
    filter: FilterConfig
    batch: BatchConfig
    cache: Text = Field(
        description="Folder of vocabularies, encoded corpora and measurements, shared by runs."
    )

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
        # An invalid `direction` is reported once, and not again for each corpus that inherits it.
        shared = info.data.get("direction", UNKNOWN)
        if info.field_name == "test" and isinstance(corpora, Mapping):
            corpora = {name: corpus for name, corpus in corpora.items() if not _is_empty(corpus)}
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
                    f"`weight` must be left out of `{name}`, which is not a training corpus, but "
                    f"is {corpus.weight:g} instead."
                )
        return self


def _is_empty(corpus: Any) -> bool:
    return isinstance(corpus, Mapping) and all(
        corpus.get(side) is None for side in ("source", "target")
    )


def _with_direction(corpus: Any, direction: Direction) -> Any:
    if isinstance(corpus, Mapping) and corpus.get("direction") is None:
        return {**corpus, "direction": direction}
    return corpus


def _reject_old_form(values: Mapping[str, Any]) -> None:
    """Explain how settings of version 0.1 are written now.

    Raises:
        ValueError: the values have such settings.
    """
    if values.keys() & {"source_language", "target_language"}:
        raise ValueError(
            "`source_language` and `target_language` must be written as one setting, such as "
            "`direction: en-de`."
        )
    valid = values.get("valid")
    if isinstance(valid, Mapping) and isinstance(valid.get("source"), list):
        raise ValueError(
            "`valid` must give each validation set a name, as in "
            "`valid: {valid: {source: […], target: […]}}`, but has `source` itself instead."
        )
