"""conf/data: the corpora and how they are prepared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nmt.config.settings import PositiveFloat, PositiveInt, Settings, Text


class FilesConfig(Settings):
    """One parallel corpus: source file i is aligned with target file i, line by line."""

    source: list[Text] = Field(min_length=1, description="Source files, plain or .gz.")
    target: list[Text] = Field(min_length=1, description="Target files, in the same order.")
    weight: PositiveFloat = Field(
        default=1.0, description="Share of this corpus in the training mix, before normalising."
    )

    @model_validator(mode="after")
    def _same_number(self) -> FilesConfig:
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
        description="At most so many lines, drawn evenly, are used to train it."
    )
    model: str | None = Field(description="An existing SentencePiece model to use instead.")


class FilterConfig(Settings):
    """Which training pairs are left out. Validation and test sets are never filtered."""

    max_tokens: PositiveInt = Field(description="Longest side, in pieces.")
    max_ratio: Annotated[float, Field(ge=1)] = Field(
        description="Largest quotient of the two sides' lengths (for sides over 10 pieces)."
    )
    duplicates: bool = Field(description="Leave out pairs that were seen before.")
    copies: bool = Field(description="Leave out pairs whose two sides are the same.")


class BatchConfig(Settings):
    """How sentences are put into batches. A batch is what one optimizer step sees."""

    tokens: PositiveInt | None = Field(
        description="Budget of a batch: rows × longest row, the larger side, padding included."
    )
    sentences: PositiveInt | None = Field(description="Fixed number of sentences instead.")
    multiple: PositiveInt = Field(
        description="Rows of a batch are a multiple of this, so that it can be cut evenly."
    )
    pool: PositiveInt = Field(
        description="So many pairs are drawn at random, then sorted by length into batches."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> BatchConfig:
        if (self.tokens is None) == (self.sentences is None):
            raise ValueError("exactly one of `tokens` and `sentences` must be set.")
        return self


class DataConfig(Settings):
    """conf/data: the corpora and how they are prepared."""

    name: Text = Field(description="Name of this corpus, for reports and the cache.")
    source_language: Text = Field(description="Language code of the source side.")
    target_language: Text = Field(description="Language code of the target side.")
    train: dict[str, FilesConfig] = Field(
        min_length=1, description="Training corpora by name; mixed by their weights."
    )
    valid: FilesConfig = Field(description="Validation set.")
    test: dict[str, FilesConfig] = Field(description="Test sets by name.")
    vocabulary: VocabularyConfig
    filter: FilterConfig
    batch: BatchConfig
    cache: Text = Field(description="Folder of vocabularies and token stores, re-used by runs.")

    @property
    def splits(self) -> dict[str, FilesConfig]:
        """What can be evaluated, by name: the validation set as `valid`, and the test sets."""
        return {"valid": self.valid, **self.test}

    @model_validator(mode="after")
    def _names_differ(self) -> DataConfig:
        if "valid" in self.test:
            raise ValueError("`test` must not name a set `valid`: that is the validation set.")
        return self
