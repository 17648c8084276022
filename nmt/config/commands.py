"""Settings of the commands that use trained models: conf/evaluate.yaml, translate.yaml, serve.yaml
and export.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nmt.config.data import DataConfig
from nmt.config.decode import DecodeConfig, TranslatorConfig, UseConfig
from nmt.config.direction import BLEU_TOKENIZER, BleuTokenizer, Direction, LanguageCode
from nmt.config.settings import (
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
)


class EvaluateConfig(Settings):
    """conf/evaluate.yaml: scoring a model on a test set, or a file of translations."""

    translator: TranslatorConfig | None = Field(
        description="The model to evaluate; null, or without a folder: score the file `hypothesis`."
    )
    hypothesis: Text | None = Field(
        description="File of translations to score instead of a model, plain or .gz."
    )
    data: DataConfig | None = Field(
        description="Group of conf/data that has the set to score; null: score plain files."
    )
    split: Text | None = Field(description="Name of the validation or test set of `data` to score.")
    source: Text | None = Field(
        description="Source file, plain or .gz, if there is no `data`; required with a model."
    )
    reference: Text | None = Field(
        description="Reference file, plain or .gz, if there is no `data`."
    )
    direction: Direction | None = Field(
        description="Direction of the files, such as en-de, if the model has several; null: the "
        "model's only direction."
    )
    name: Name | None = Field(
        description="Name of the test set in the report; null: that of the corpus or the file."
    )
    output: Text = Field(
        description="Folder for report.json, report.md and segments.jsonl, which are overwritten; "
        "{name} stands for the name of the test set."
    )
    bootstrap: Annotated[NonNegativeInt, Field(le=100_000)] = Field(
        description="Number of resamples for the confidence intervals; 0: no intervals."
    )
    seed: NonNegativeInt = Field(description="Seed of the resamples.")
    bleu_tokenizer: BleuTokenizer = Field(description=BLEU_TOKENIZER)
    minimum_bleu: NonNegativeFloat | None = Field(
        description="Fail after writing the report if BLEU is lower; null: accept any score."
    )
    decode: DecodeConfig

    @field_validator("translator", mode="before")
    @classmethod
    def _no_folder_is_no_model(cls, value: Any) -> Any:
        return None if isinstance(value, Mapping) and value.get("folder") is None else value

    @model_validator(mode="after")
    def _fits(self) -> EvaluateConfig:
        if self.translator is None and self.hypothesis is None:
            raise ValueError(
                "either `translator.folder` or `hypothesis` must be set, but both are null; name a "
                "model folder, such as `translator.folder=runs/demo/best`, or a file."
            )
        if self.translator is not None and self.hypothesis is not None:
            raise ValueError(
                "only one of `translator.folder` and `hypothesis` may be set, but both are; remove "
                "one of the two."
            )
        if self.direction is not None and (self.translator is None or self.data is not None):
            raise ValueError(
                "`direction` must be null without a model, or with `data`, whose corpora have "
                f"directions of their own, but is {self.direction.code} instead."
            )
        if self.data is None:
            self._files_fit()
        else:
            self._split_fits(self.data)
        _one_translation(self.decode, "nmt-evaluate")
        return self

    def _files_fit(self) -> None:
        if self.split is not None:
            raise ValueError(
                f"`split` must be null without `data`, but is {self.split!r} instead; "
                "name a corpus, such as `data=sample`."
            )
        needed = ["reference"] if self.translator is None else ["source", "reference"]
        missing = [f"`{name}`" for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"{' and '.join(missing)} must be set without `data`; name files, or a corpus such "
                "as `data=sample split=test`."
            )

    def _split_fits(self, data: DataConfig) -> None:
        if self.source is not None or self.reference is not None:
            raise ValueError(
                "`source` and `reference` must be null with `data`, which names the files itself; "
                "remove either `data` or the files."
            )
        splits = data.splits
        if self.split not in splits:
            raise ValueError(
                f"`split` must be one of {', '.join(splits)} with `data={data.name}`, "
                f"but is {self.split!r} instead."
            )


class TranslateConfig(Settings):
    """conf/translate.yaml: translating a file or stdin to a file or stdout."""

    translator: TranslatorConfig
    input: str | None = Field(description="File to translate, plain or .gz; null: stdin.")
    output: str | None = Field(
        description="File to write, plain or .gz; null: stdout. Until it is complete, it is "
        "<output>.partial, from which the same command resumes."
    )
    source: LanguageCode | None = Field(
        description="Language of the input, such as en; null: the model's only source language."
    )
    target: LanguageCode | None = Field(
        description="Language of the output; null: the model's only target language."
    )
    input_format: Literal["lines", "sentences", "html"] = Field(
        description="lines: each line is translated as it is; sentences: each line is first split "
        "into sentences; html: the whole input is one document, whose markup is kept."
    )
    output_format: Literal["text", "jsonl", "pharaoh"] = Field(
        description="text: the translation of each line; jsonl: also n-best translations, scores "
        "and alignments; pharaoh: the translation, ` ||| `, and its alignment of words, as in 0-0 "
        "1-2."
    )
    progress: bool = Field(
        description="Whether to report progress and speed on stderr, if it takes long."
    )
    buffer: Annotated[PositiveInt, Field(le=10_000_000)] = Field(
        description="Number of lines that are read at a time and sorted by length."
    )
    decode: DecodeConfig

    @model_validator(mode="after")
    def _fits(self) -> TranslateConfig:
        if self.output_format != "text" and self.input_format != "lines":
            raise ValueError(
                f"`input_format` must be lines with `output_format={self.output_format}`, but is "
                f"{self.input_format} instead."
            )
        if self.output_format != "jsonl":
            _one_translation(self.decode, f"output_format={self.output_format}")
        return self


class LimitsConfig(Settings):
    """Limits of a request, of the queue, and of each client."""

    body_bytes: PositiveInt = Field(description="Largest request body, in bytes.")
    texts: PositiveInt = Field(description="Most texts in one request.")
    sentences: PositiveInt = Field(description="Most sentences in all texts of a request.")
    characters: PositiveInt = Field(description="Most characters in all texts of a request.")
    alternatives: Annotated[NonNegativeInt, Field(le=1000)] = Field(
        description="Most alternative translations of a text."
    )
    beam_size: Annotated[PositiveInt, Field(le=1000)] = Field(
        description="Largest beam size that a request may ask for."
    )
    segment_tokens: PositiveInt = Field(
        description="Longest sentence in pieces; a longer one is split and translated in parts."
    )
    deadline_seconds: Annotated[PositiveFloat, Field(le=1_000_000)] = Field(
        description="Longest time that a request may take, in seconds."
    )
    waiting_sentences: PositiveInt = Field(
        description="Most sentences in the queue; a request that would exceed it gets status 503."
    )
    waiting_tokens: PositiveInt = Field(
        description="Most pieces in all sentences of the queue; a request that would exceed it "
        "gets status 503."
    )
    requests_per_minute: PositiveInt | None = Field(
        description="Most requests of a client (a key, or else an address) in a minute; further "
        "ones get status 429; null: no limit."
    )
    characters_per_minute: PositiveInt | None = Field(
        description="Most characters in a client's texts in a minute; further requests get status "
        "429; null: no limit."
    )


class ServeConfig(Settings):
    """conf/serve.yaml: the translation server."""

    models: list[Text] = Field(
        min_length=1, description="Model folders, each with directions that no other one has."
    )
    translator: UseConfig
    host: Text = Field(description="Address to listen on, such as 127.0.0.1 for this machine only.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(description="Port; 0: any free one.")
    keys: Text | None = Field(
        description="File with a line `name key` for each client that may translate; null: "
        "anybody may."
    )
    proxies: list[Text] = Field(
        description="Addresses of proxies whose X-Forwarded-For header is trusted."
    )
    log: Literal["text", "json"] = Field(description="Format of log lines.")
    page: bool = Field(description="Whether to serve the web page at /.")
    continuous: bool = Field(
        description="Whether sentences join the running batch at any decoding step; false: only "
        "when it is empty, for comparison."
    )
    limits: LimitsConfig
    decode: DecodeConfig

    @field_validator("models", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> ServeConfig:
        _one_translation(self.decode, "nmt-serve, where a request asks for alternatives")
        return self


def _one_translation(decode: DecodeConfig, where: str) -> None:
    if decode.n_best > 1:
        raise ValueError(f"`decode.n_best` must be 1 with {where}, but is {decode.n_best} instead.")


class ShortlistConfig(Settings):
    """The `shortlist` part of conf/export.yaml: the target pieces allowed for each source piece."""

    candidates: Annotated[NonNegativeInt, Field(le=10_000)] = Field(
        description="Number of likely translations kept for each source piece; 0: no new shortlist."
    )
    always: NonNegativeInt = Field(
        description="Number of most frequent target pieces, which are always allowed."
    )
    pairs: PositiveInt = Field(
        description="Most sentence pairs of `data` from which the shortlist is learnt."
    )


class ExportConfig(Settings):
    """conf/export.yaml: making a smaller or faster model folder."""

    folder: Text | None = Field(
        description="Model folder to export, such as runs/demo/best; null: `checkpoint` is set."
    )
    checkpoint: list[Text] | None = Field(
        description="Checkpoints of one run to export instead, such as "
        "runs/demo/checkpoints/step-00001000, or the run's folder for all that it has; the mean of "
        "several. Of a run with a moving average, that is exported. null: `folder` is set."
    )
    output: Text = Field(description="Folder to write; an existing model folder there is replaced.")
    weights: Literal["fp32", "int8"] = Field(
        description="Number format in which the weights are stored."
    )
    data: DataConfig | None = Field(description="Corpora to learn a shortlist from; null: none.")
    shortlist: ShortlistConfig

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_weights(self) -> ExportConfig:
        if (self.folder is None) == (not self.checkpoint):
            both = "both are" if self.checkpoint else "neither is"
            raise ValueError(
                f"one of `folder` and `checkpoint` must be set, but {both}; name a model folder, "
                "such as `folder=runs/demo/best`, or checkpoints."
            )
        return self

    @model_validator(mode="after")
    def _has_data(self) -> ExportConfig:
        if self.shortlist.candidates and self.data is None:
            raise ValueError(
                "`data` must be set with `shortlist.candidates`, since the shortlist is learnt "
                "from it, but is null instead; use a corpus, such as `data=multi30k`."
            )
        return self
