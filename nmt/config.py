"""Every setting of `conf/`, as strict dataclasses: one class for one configuration group.

YAML becomes one of these classes once, at the door (`read`), and the rest of the code takes typed,
validated values. An unknown key, a wrong type and a value out of range are all reported together,
each in one sentence with its path. Defaults live in `conf/*.yaml` alone, so that what a user reads
there is what happens; the classes have none, except where a group may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nmt.errors import ConfigurationError

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Base of all groups: unknown keys are errors, values are never converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelConfig(Settings):
    """conf/model: the architecture and its size."""

    name: Text = Field(description="Name of this configuration, for reports.")
    architecture: Literal["gnmt"] = Field(description="Which graph of layers to build.")
    encoder_layers: Annotated[int, Field(ge=2)] = Field(
        description="LSTM layers of the encoder; the first is bidirectional."
    )
    decoder_layers: Annotated[int, Field(ge=2)] = Field(description="LSTM layers of the decoder.")
    hidden_size: PositiveInt = Field(description="Units of every LSTM and width of embeddings.")
    dropout: Fraction = Field(description="Dropout on the input of every LSTM and of the output.")
    embedding_dropout: Fraction = Field(
        description="Probability of zeroing a whole word's embedding, during training."
    )
    residual: Literal["gnmt", "full"] = Field(
        description="Residual connections: GNMT's, or also around the second encoder layer and "
        "from the attention to the output, so that words are learnt much sooner."
    )
    tie: Literal["none", "target", "all"] = Field(
        description="Embeddings that share one matrix: target with output, or source too."
    )


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


class OptimizerConfig(Settings):
    """conf/optimizer: the update rule."""

    name: Literal["adam", "sgd"] = Field(description="Adam, or plain gradient descent.")
    learning_rate: PositiveFloat = Field(description="Peak learning rate.")
    betas: tuple[Fraction, Fraction] = Field(description="Adam's two decay rates.")
    epsilon: PositiveFloat = Field(description="Adam's denominator offset.")
    weight_decay: NonNegativeFloat = Field(description="Decoupled weight decay (AdamW).")
    clip_norm: PositiveFloat | None = Field(
        description="Largest norm of the whole model's gradient; null: no clipping."
    )


class ScheduleConfig(Settings):
    """conf/schedule: the learning rate over time, as a factor of the peak."""

    name: Literal["constant", "inverse_sqrt", "cosine"] = Field(
        description="Form of the decay after the warm-up."
    )
    warmup_steps: NonNegativeInt = Field(description="Steps of linear increase from 0.")
    decay_start: Fraction = Field(
        description="Part of the run (0 to 1) at which a cosine decay begins."
    )
    final_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Factor at the end of a cosine decay."
    )


class ParallelConfig(Settings):
    """conf/parallel: which executor runs the graph, on how many devices."""

    executor: Literal["local", "deepspeed", "wavefront"] = Field(
        description="One device, or DeepSpeed's pipeline engine, or our own for any placement."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="Kind of device; auto: CUDA where there is one for every process."
    )
    stages: PositiveInt = Field(description="Devices that the layers are put on.")
    copies: PositiveInt = Field(description="Data parallel copies of the whole pipeline.")
    micro_batches: PositiveInt = Field(description="Pieces that a copy's batch is cut into.")
    chunks: PositiveInt = Field(description="Pieces that time is cut into; wavefront only.")
    schedule: Literal["gpipe", "1f1b", "wavefront"] | None = Field(
        description="Rule of each device's order of work; wavefront only."
    )
    one_process: bool = Field(
        description="One process drives all devices, instead of one each; wavefront only."
    )
    tune: bool = Field(
        description="Measure which micro-batches and chunks are the fastest, and one process with "
        "all threads; wavefront only."
    )
    trace: bool = Field(
        description="Record what each device does in a few steps: trace.html, .png and .json."
    )
    zero: Literal[0, 1] = Field(
        description="ZeRO stage: 1 shares the optimizer's state among the copies."
    )
    threads: PositiveInt | None = Field(
        description="CPU threads of a process; null: the cores divided by the processes."
    )
    plan: str | None = Field(
        description="A plan.json to follow; null: one made from the layers' measured cost."
    )


class PrecisionConfig(Settings):
    """conf/precision: the number format of weights and activations."""

    name: Literal["fp32", "bf16"] = Field(description="Format of weights and activations.")
    emulate: bool = Field(
        description="Allow bf16 on a processor without bf16 instructions, where it is far slower."
    )


class DecodeConfig(Settings):
    """conf/decode: the search for a translation."""

    beam_size: PositiveInt = Field(description="Hypotheses kept per sentence; 1 is greedy.")
    length_penalty: NonNegativeFloat = Field(description="GNMT's alpha.")
    coverage_penalty: NonNegativeFloat = Field(description="GNMT's beta.")
    n_best: PositiveInt = Field(description="Translations returned per sentence.")
    max_length_ratio: PositiveFloat = Field(
        description="Longest translation, as a multiple of the source's pieces."
    )
    max_length_offset: NonNegativeInt = Field(
        description="Pieces added to that, for short sentences."
    )
    no_repeat_ngram: NonNegativeInt = Field(
        description="No n-gram of so many pieces occurs more than `max_repeats` times; 0: off."
    )
    max_repeats: PositiveInt = Field(description="How often an n-gram may occur.")
    batch_sentences: PositiveInt = Field(description="Sentences decoded together.")

    @model_validator(mode="after")
    def _n_best_in_beam(self) -> DecodeConfig:
        if self.n_best > self.beam_size:
            raise ValueError(
                f"`n_best` must be at most `beam_size` ({self.beam_size}), "
                f"but is {self.n_best} instead."
            )
        return self


class AverageConfig(Settings):
    """Averaging of weights: the average is what is validated, kept as best, and translated with."""

    kind: Literal["none", "checkpoints", "weights"] = Field(
        description="Mean of the last checkpoints, or an exponential mean of the weights."
    )
    checkpoints: PositiveInt = Field(description="How many of the last checkpoints to average.")
    decay: Fraction = Field(description="Decay of the exponential mean at each update.")
    every: PositiveInt = Field(description="Steps between two updates of the exponential mean.")


class TrainingConfig(Settings):
    """The `training` part of conf/train.yaml."""

    max_steps: PositiveInt | None = Field(description="Stop after so many optimizer steps.")
    max_epochs: PositiveFloat | None = Field(description="Stop after so many passes.")
    max_minutes: PositiveFloat | None = Field(
        description="Stop when the run, its preparation included, has lasted so long."
    )
    label_smoothing: Fraction = Field(description="Mass spread evenly over the vocabulary.")
    validate_every: PositiveInt = Field(description="Steps between two validations.")
    validate_sentences: PositiveInt = Field(
        description="So many sentences of the validation set are decoded."
    )
    validate_first: NonNegativeInt = Field(description="No validation before this step.")
    checkpoint_every: PositiveInt = Field(description="Steps between two checkpoints.")
    keep_checkpoints: PositiveInt = Field(description="Checkpoints kept; older ones go.")
    best_by: Literal["bleu", "chrf", "loss"] = Field(description="What makes a model the best.")
    patience: PositiveInt | None = Field(
        description="Validations without improvement before stopping; null: never."
    )
    log_every: PositiveInt = Field(description="Steps between two lines of metrics.jsonl.")
    average: AverageConfig


class TrainConfig(Settings):
    """conf/train.yaml: one training run."""

    name: Text = Field(description="Name of the run, and of its folder.")
    runs: Text = Field(description="Folder of all runs.")
    seed: NonNegativeInt = Field(description="Seed of initial weights, shuffling and dropout.")
    resume: Literal["auto", "never", "must"] = Field(
        description="auto: go on from the last checkpoint if there is one; never: start anew, "
        "an error if the run exists; must: an error if it does not."
    )
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    parallel: ParallelConfig
    precision: PrecisionConfig
    decode: DecodeConfig
    training: TrainingConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.runs) / self.name

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        mistakes = []
        pieces = self.parallel.copies * self.parallel.micro_batches
        if self.data.batch.multiple % pieces:
            mistakes.append(
                f"`data.batch.multiple` must be a multiple of `parallel.copies` × "
                f"`parallel.micro_batches` ({pieces}), but is {self.data.batch.multiple} instead."
            )
        devices = (self.parallel.stages, self.parallel.copies)
        if self.parallel.executor == "local" and devices != (1, 1):
            mistakes.append(
                "`parallel.stages` and `parallel.copies` must be 1 with `parallel.executor=local`, "
                f"but are {self.parallel.stages} and {self.parallel.copies} instead; "
                "use `parallel=wavefront` for more."
            )
        limits = (self.training.max_steps, self.training.max_epochs, self.training.max_minutes)
        if all(limit is None for limit in limits):
            mistakes.append(
                "one of `training.max_steps`, `training.max_epochs` and `training.max_minutes` "
                "must be set."
            )
        elif self.schedule.name != "constant" and limits[:2] == (None, None):
            mistakes.append(
                "one of `training.max_steps` and `training.max_epochs` must be set with "
                f"`schedule={self.schedule.name}`, which goes by them and not by the clock."
            )
        mistakes += self._without_effect()
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _without_effect(self) -> list[str]:
        parallel, mistakes = self.parallel, []
        if parallel.executor != "wavefront":
            wanted = {"chunks": 1, "schedule": None, "one_process": False, "tune": False}
            mistakes += [
                f"`parallel.{name}` must be {value} with `parallel.executor={parallel.executor}`, "
                f"but is {getattr(parallel, name)!r} instead."
                for name, value in wanted.items()
                if getattr(parallel, name) != value
            ]
        elif parallel.tune and parallel.plan is not None:
            mistakes.append(
                "`parallel.plan` must be null with `parallel.tune`, which makes plans, "
                f"but is {parallel.plan!r} instead."
            )
        elif parallel.schedule is None:
            mistakes.append(
                "`parallel.schedule` must be gpipe, 1f1b or wavefront with "
                "`parallel.executor=wavefront`, but is null instead."
            )
        elif parallel.zero:
            mistakes.append("`parallel.zero` must be 0 with `parallel.executor=wavefront`.")
        if parallel.executor == "local" and parallel.plan is not None:
            mistakes.append(
                "`parallel.plan` must be null with `parallel.executor=local`, "
                f"but is {parallel.plan!r} instead."
            )
        if parallel.zero and (parallel.executor == "local" or parallel.copies == 1):
            mistakes.append(
                "`parallel.zero` must be 0 where there is one copy, since there is nobody to share "
                f"with, but is {parallel.zero} instead."
            )
        return mistakes


class TranslatorConfig(Settings):
    """What every command that translates needs to load a model."""

    folder: Text = Field(description="A model folder, such as runs/demo/best.")
    device: Literal["auto", "cpu", "cuda"] = Field(description="Where the model runs.")
    plan: str | None = Field(
        description="A plan.json that puts layers on several devices; null: all on `device`."
    )
    precision: PrecisionConfig
    threads: PositiveInt | None = Field(description="CPU threads; null: PyTorch's choice.")

    @model_validator(mode="after")
    def _one_place(self) -> TranslatorConfig:
        if self.plan is not None and self.device != "auto":
            raise ValueError(
                f"`device` must be auto with a `plan`, which names devices, "
                f"but is {self.device} instead."
            )
        return self


class EvaluateConfig(Settings):
    """conf/evaluate.yaml: a model folder on a test set, or two plain files."""

    translator: TranslatorConfig | None = Field(
        description="The model to evaluate; null to score the file `hypothesis`."
    )
    hypothesis: Text | None = Field(
        description="A file of translations to score instead, plain or .gz."
    )
    data: DataConfig | None = Field(
        description="A corpus of conf/data whose `split` is the test set; null: plain files."
    )
    split: Text | None = Field(
        description="Which part of `data`: one of its test sets by name, or valid."
    )
    source: Text | None = Field(
        description="Source file, plain or .gz, when there is no `data`; needed with a model."
    )
    reference: Text | None = Field(
        description="Reference file, plain or .gz, when there is no `data`."
    )
    name: Text | None = Field(
        description="Name of the test set in the report; null: from the corpus or the file."
    )
    output: Text = Field(
        description="Folder of report.json, report.md and segments.jsonl, written over if it "
        "exists; {name} stands for the test set's name."
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
    format: Literal["text", "jsonl"] = Field(
        description="text: a line a sentence; jsonl: n-best, scores and alignments too."
    )
    buffer: PositiveInt = Field(description="Lines held in memory and sorted by length.")
    decode: DecodeConfig

    @model_validator(mode="after")
    def _fits(self) -> TranslateConfig:
        if self.format == "text":
            _one_translation(self.decode, "format=text")
        return self


class ServeConfig(Settings):
    """conf/serve.yaml: the translation server."""

    translator: TranslatorConfig
    host: Text = Field(description="Address to listen on; loopback unless told otherwise.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(description="Port; 0: any free one.")
    max_body_bytes: PositiveInt = Field(description="Largest request body.")
    max_sentences: PositiveInt = Field(description="Most texts, and most lines, in one request.")
    max_characters: PositiveInt = Field(
        description="Longest line of a text: one is translated in one piece."
    )
    decode: DecodeConfig

    @model_validator(mode="after")
    def _fits(self) -> ServeConfig:
        _one_translation(self.decode, "nmt-serve, where a request asks for alternatives")
        return self


def _one_translation(decode: DecodeConfig, where: str) -> None:
    if decode.n_best > 1:
        raise ValueError(f"`decode.n_best` must be 1 with {where}, but is {decode.n_best} instead.")


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def read(kind: type[SomeSettings], values: Mapping[str, Any]) -> SomeSettings:
    """Turn plain nested values (from YAML) into `kind`, or raise one `ConfigurationError` that
    lists every mistake with its path, the value given, and what is allowed.
    """
    try:
        return kind.model_validate(_lists_to_tuples(values))
    except ValidationError as error:
        details = error.errors(include_url=False)
        mistakes = [line for detail in details for line in _sentence(detail).splitlines()]
        raise ConfigurationError(mistakes) from None


def _lists_to_tuples(values: Any) -> Any:
    """YAML has no tuples; the only ones we use are Adam's `betas`."""
    if isinstance(values, Mapping):
        return {
            key: tuple(value)
            if key == "betas" and isinstance(value, list)
            else _lists_to_tuples(value)
            for key, value in values.items()
        }
    return values


def _sentence(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    given = f"but is {value!r} instead."
    match kind:
        case "extra_forbidden":
            return f"`{path}` is not a setting; remove it or check its spelling."
        case "missing":
            return f"`{path}` must be set, but is missing."
        case "greater_than_equal":
            return f"`{path}` must be at least {context['ge']}, {given}"
        case "greater_than":
            return f"`{path}` must be greater than {context['gt']}, {given}"
        case "less_than_equal":
            return f"`{path}` must be at most {context['le']}, {given}"
        case "less_than":
            return f"`{path}` must be less than {context['lt']}, {given}"
        case "literal_error":
            return f"`{path}` must be one of {context['expected']}, {given}"
        case "value_error":
            where = f"In `{path}`, " if path else ""
            return where + str(context["error"])
        case "string_too_short" | "too_short":
            return f"`{path}` must not be empty."
        case "too_long":
            return f"`{path}` must have at most {context['max_length']} items, {given}"
        case "model_type":
            return f"`{path}` must be a group of settings, {given}"
        case _:
            expected = detail["msg"].removeprefix("Input should be ")
            return f"`{path}` must be {expected}, {given}"


def describe(kind: type[Settings]) -> Sequence[tuple[str, str]]:
    """Every field of a group with its sentence, for documentation and tests."""
    return [
        (name, field.description or _summary(field)) for name, field in kind.model_fields.items()
    ]


def _summary(field: FieldInfo) -> str:
    """What a field's class says of itself, after the name of its folder."""
    kind = field.annotation
    assert isinstance(kind, type), "only a group of settings may have no description"
    first = (kind.__doc__ or "").split("\n\n")[0].removeprefix("conf/").split(": ", 1)[-1]
    return first[:1].upper() + " ".join(first[1:].split())
