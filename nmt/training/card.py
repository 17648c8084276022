"""The model card: README.md of a model folder."""

from __future__ import annotations

from nmt.config import TrainConfig, join_directions
from nmt.corpus.prepare import PreparedData
from nmt.training.checkpoint import Progress
from nmt.training.scores import Scores


def model_card(
    config: TrainConfig,
    data: PreparedData,
    parameters: int,
    progress: Progress,
    scores: Scores,
) -> str:
    """The card as Markdown, with all numbers taken from the run."""
    corpora = "\n".join(
        f"| {name} | {config.data.train[name].direction} "
        f"| {store.statistics.kept:,} of {store.statistics.read:,} "
        f"| {store.statistics.source_tokens:,} | {store.statistics.target_tokens:,} |"
        for name, store in data.train.items()
    )
    validation = "\n".join(
        f"| {name} | {data.valid[name].direction} | {set_scores.sentences:,} "
        f"| {_rounded(set_scores.bleu)} | {_rounded(set_scores.chrf)} "
        f"| {set_scores.loss:.3f} | {set_scores.perplexity:.2f} |"
        for name, set_scores in scores.sets.items()
    )
    model = config.model
    return f"""# Translation {join_directions(config.data.directions)}

A {model.architecture.upper()} model ({model.name}: {model.summary}, {parameters:,} \
parameters) with a joint SentencePiece vocabulary of {len(data.vocabulary):,} pieces.

```python
from nmt import Translator

translator = Translator.load("this folder")
translator.translate(["..."])
```

## Training data

| corpus | direction | pairs kept | source tokens | target tokens |
|---|---|---|---|---|
{corpora}

{progress.step:,} steps, {progress.epoch:.1f} epochs, {progress.target_tokens:,} target tokens,
{progress.seconds / 60:.1f} minutes; seed {config.seed}, precision {config.precision.name}.

## Validation

The first sentences of each set were translated and scored by sacreBLEU, detokenised and cased; the
loss is the cross-entropy per target token over the whole set, without label smoothing.

| set | direction | sentences | BLEU | chrF2 | loss | perplexity |
|---|---|---|---|---|---|---|
{validation}

{_signatures(scores)}

## Limits

The model was trained on sentences of at most {config.data.filter.max_tokens} pieces from these
corpora. It translates other domains, longer sentences and other languages badly, and it can omit
content or make it up. The licences of the corpora may restrict its use.
"""


def _rounded(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _signatures(scores: Scores) -> str:
    if scores.bleu_signature is None:
        return "Nothing was translated, so that there are no BLEU and chrF2."
    return f"- BLEU: `{scores.bleu_signature}`\n- chrF2: `{scores.chrf_signature}`"
