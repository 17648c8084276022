"""The model card: what a model folder's README.md says."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.training.checkpoint import Progress


def model_card(
    config: TrainConfig,
    data: PreparedData,
    parameters: int,
    progress: Progress,
    validation: Mapping[str, float | str],
) -> str:
    """Markdown, with every number taken from the run."""
    source, target = config.data.source_language, config.data.target_language
    corpora = "\n".join(
        f"| {name} | {store.statistics.kept:,} of {store.statistics.read:,} "
        f"| {store.statistics.source_tokens:,} | {store.statistics.target_tokens:,} |"
        for name, store in data.train.items()
    )
    scores = "\n".join(f"| {name} | {_cell(value)} |" for name, value in validation.items())
    model = config.model
    return f"""# Translation from `{source}` to `{target}`

A {model.architecture.upper()} model ({model.name}: {model.encoder_layers} encoder and \
{model.decoder_layers} decoder LSTM layers of {model.hidden_size} units, {parameters:,} \
parameters) with a joint SentencePiece vocabulary of {len(data.vocabulary):,} pieces.

```python
from nmt import Translator

translator = Translator.load("this folder")
translator.translate(["..."])
```

## Training data

| corpus | pairs kept | {source} pieces | {target} pieces |
|---|---|---|---|
{corpora}

{progress.step:,} steps, {progress.epoch:.1f} passes, {progress.target_tokens:,} target tokens,
{progress.seconds / 60:.1f} minutes; seed {config.seed}, precision {config.precision.name}.

## Scores on a part of the validation set

The first {min(config.training.validate_sentences, len(data.valid_source)):,} sentences, detokenised
and cased, by sacreBLEU:

| | |
|---|---|
{scores}

## Limits

Trained on sentences of at most {config.data.filter.max_tokens} pieces from the corpora above: text
of another kind, longer text and other languages are translated badly. It can leave things out or
make things up. The licences of the corpora may limit the use of the model.
"""


def _cell(value: float | str) -> str:
    """A table's cell; sacreBLEU's signatures have the sign that separates cells."""
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
