"""Commands that use trained models: conf/evaluate.yaml, translate.yaml, serve.yaml, export.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nmt.config.data import DataConfig
from nmt.config.decode import DecodeConfig, TranslatorConfig, UseConfig
from nmt.config.direction import Direction, LanguageCode
from nmt.config.settings import (
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
        description="The model to evaluate; null to score the file `hypothesis`."
    )
    hypothesis: Text | None = Field(
        description="A file of translations to score instead, plain or .gz."
    )
    data: DataConfig | None = Field(
        description="A group of conf/data, one of whose sets is scored; null: plain files."
    )
    split: Text | None = Field(description="Name of a validation or test set of `data`.")
    source: Text | None = Field(
        description="Source file, plain or .gz, when there is no `data`; needed with a model."
    )
    reference: Text | None = Field(
        description="Reference file, plain or .gz, when there is no `data`."
    )
    direction: Direction | None = Field(
        description="Direction of the files, such as en-de, where the model has several; null: "
        "the model's only one."
    )
    name: Text | None = Field(
        description="Name of the test set in the report; null: from the corpus or the file."
    )
    output: Text = Field(
        description="Folder of report.json, report.md and segments.jsonl, which are overwritten; "
        "{name} stands for the test set's name."
    )
    bootstrap: NonNegativeInt = Field(description="Resamples for the intervals; 0: none.")
    seed: NonNegativeInt = Field(description="Seed of the resamples.")
    minimum_bleu: NonNegativeFloat | None = Field(
        description="Fail, after writing the report, if BLEU is lower; null: any score is fine."
    )
    decode: DecodeConfig

    @model_validator(mode="after")
    def _fits(self) -> EvaluateConfig:
        if self.translator is None and self.hypothesis is None:
            raise ValueError("one of `translator` and `hypothesis` must be set, but both are null.")
        if self.translator is not None and self.hypothesis is not None:
            raise ValueError(
                "only one of `translator` and `hypothesis` must be set, but both are; "
                "add `translator=null` to score the file."
            )
        if self.direction is not None and (self.translator is None or self.data is not None):
            raise ValueError(
                "`direction` must be null without a model or with `data`, which has its own, but "
                f"is {self.direction.code} instead."
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
                f"{' and '.join(missing)} must be set, but are null; give files, "
                "or a corpus such as `data=sample split=test`."
            )

    def _split_fits(self, data: DataConfig) -> None:
        if self.source is not None or self.reference is not None:
            raise ValueError(
                "`source` and `reference` must be null with `data`, whose files they would "
                "replace; remove either."
            )
        splits = data.splits
        if self.split not in splits:
            raise ValueError(
                f"`split` must be one of {', '.join(splits)} with `data={data.name}`, "
                f"but is {self.split!r} instead."
            )


class TranslateConfig(Settings):
    """conf/translate.yaml: files or standard input to standard output or a file."""

    translator: TranslatorConfig
    input: str | None = Field(description="File to translate, plain or .gz; null: stdin.")
    output: str | None = Field(description="File to write; null: stdout.")
    source: LanguageCode | None = Field(
        description="Language of the input, such as en; null: the model's only one."
    )
    target: LanguageCode | None = Field(
        description="Language of the output; null: the model's only one."
    )
    input_format: Literal["lines", "sentences", "html"] = Field(
        description="lines: each is translated as it is; sentences: each is split into sentences "
        "first; html: the whole input is one document, whose markup stays."
    )
    output_format: Literal["text", "jsonl"] = Field(
        description="text: a translation on each line; jsonl: n-best, scores and alignments too."
    )
    buffer: PositiveInt = Field(description="Lines held in memory and sorted by length.")
    decode: DecodeConfig

    @model_validator(mode="after")
    def _fits(self) -> TranslateConfig:
        if self.output_format == "jsonl" and self.input_format != "lines":
            raise ValueError(
                "`input_format` must be lines with `output_format=jsonl`, but is "
                f"{self.input_format} instead."
            )
        if self.output_format == "text":
            _one_translation(self.decode, "output_format=text")
        return self


class LimitsConfig(Settings):
    """Limits of a request, and of what may wait or be translated at the same time."""

    body_bytes: PositiveInt = Field(description="Largest request body, in bytes.")
    texts: PositiveInt = Field(description="Most texts in one request.")
    sentences: PositiveInt = Field(description="Most sentences of all texts of a request.")
    characters: PositiveInt = Field(description="Most characters of all texts of a request.")
    alternatives: NonNegativeInt = Field(description="Most alternative translations of a text.")
    beam_size: PositiveInt = Field(description="Largest beam that a request may ask for.")
    segment_tokens: PositiveInt = Field(
        description="Longest sentence in pieces; a longer one is split and translated in parts."
    )
    deadline_seconds: PositiveFloat = Field(description="Longest time that a request may take.")
    waiting_sentences: PositiveInt = Field(
        description="Sentences that may wait in the queue; requests beyond get status 503."
    )
    waiting_tokens: PositiveInt = Field(
        description="Pieces of all sentences that may wait in the queue."
    )
    requests_per_minute: PositiveInt | None = Field(
        description="Requests of a client (a key, or else an address); more get status "
        "429; null: no limit."
    )
    characters_per_minute: PositiveInt | None = Field(
        description="Characters of a client's texts, likewise; null: no limit."
    )


class ServeConfig(Settings):
    """conf/serve.yaml: the translation server."""

    models: list[Text] = Field(
        min_length=1, description="Model folders; no two may have the same direction."
    )
    translator: UseConfig
    host: Text = Field(description="Address to listen on, such as 127.0.0.1 for this machine only.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(description="Port; 0: any free one.")
    keys: Text | None = Field(
        description="A file with a line `name key` for each client that may translate; null: all."
    )
    proxies: list[Text] = Field(
        description="Addresses of proxies whose X-Forwarded-For header is trusted."
    )
    log: Literal["text", "json"] = Field(description="Format of log lines.")
    page: bool = Field(description="Serve the web page at /.")
    continuous: bool = Field(
        description="Sentences join the running batch at any step; false: only when it is empty, "
        "for comparison."
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
    """The `shortlist` part of conf/export.yaml: the pieces that a translation may consist of."""

    candidates: NonNegativeInt = Field(
        description="Likely translations kept for each source piece; 0: no new shortlist."
    )
    always: NonNegativeInt = Field(
        description="Number of the most frequent target pieces that are always allowed."
    )
    pairs: PositiveInt = Field(description="Most sentence pairs of `data` to learn it from.")


class ExportConfig(Settings):
    """conf/export.yaml: a smaller or faster model folder."""

    folder: Text = Field(description="A model folder, such as runs/demo/best.")
    output: Text = Field(description="Folder to write; a model folder in its place is replaced.")
    weights: Literal["fp32", "int8"] = Field(description="Format the weights are stored in.")
    data: DataConfig | None = Field(description="Corpora to learn a shortlist from; null: none.")
    shortlist: ShortlistConfig

    @model_validator(mode="after")
    def _has_data(self) -> ExportConfig:
        if self.shortlist.candidates and self.data is None:
            raise ValueError(
                "`data` must be set with `shortlist.candidates`, which is learnt from it, but is "
                "null instead; use `data=multi30k` or another one."
            )
        return self
