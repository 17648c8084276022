"""Small random models for decoding, and a slow search to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.config import DecodeConfig, GnmtConfig
from nmt.decoding.engine import Hypothesis
from nmt.decoding.penalties import CoveragePenalty, LengthPenalty
from nmt.decoding.translator import DEFAULT
from nmt.model.attention import Attention
from nmt.model.batch import BOS, EOS, Batch, length_mask, pad
from nmt.model.build import build_graph
from nmt.model.clip import Clip
from nmt.model.context import EVALUATION
from nmt.model.graph import BATCH, LayerGraph, LayerStack
from nmt.model.shortlist import Shortlist
from nmt.runtime.stepper import Stepper


@dataclass(frozen=True)
class Model:
    """One random model, as a graph and as decoding runs it."""

    graph: LayerGraph
    stack: LayerStack
    stepper: Stepper

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.stack.canonical_parameters().items()}

    @torch.no_grad()
    def full_pass(self, source: Sequence[int], target: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The graph's own pass, one sentence: log probabilities (T, V) of the piece after each of
        BOS and `target`, and attention (T, S)."""
        ids, lengths = pad([[*source, EOS]])
        target_ids, target_lengths = pad([[BOS, *target]])
        shape = (1, ids.shape[1], target_ids.shape[1])
        batch = Batch(ids, lengths, target_ids, target_ids, target_lengths, 0, shape)
        outputs: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            inputs = [
                batch.field(name.removeprefix(BATCH)) if name.startswith(BATCH) else outputs[name]
                for name in node.inputs
            ]
            layer = self.stack.layer(node.name)
            if node.name == self.graph.alignment:
                assert isinstance(layer, Attention)
                mask = length_mask(lengths, ids.shape[1])
                attention = layer.weights(inputs[0], inputs[1], mask)[0]
            outputs[node.name] = layer(inputs, (), EVALUATION).value
        return outputs["output"].log_softmax(-1), attention

    def score(self, source: Sequence[int], target: Sequence[int], decode: DecodeConfig) -> float:
        """GNMT's score of a whole translation without its end, which is counted too."""
        log_probabilities, attention = self.full_pass(source, target)
        pieces = torch.tensor([*target, EOS])
        total = float(log_probabilities.gather(1, pieces[:, None]).sum())
        coverage = CoveragePenalty(decode.coverage_penalty)
        cp = coverage(attention.sum(0)[None], torch.tensor([attention.shape[1]]))
        return total / LengthPenalty(decode.length_penalty)(len(pieces)) + float(cp)


def assert_same_hypotheses(
    found: Sequence[Hypothesis], wanted: Sequence[Hypothesis], tolerance: float
) -> None:
    """The same in all but rounding."""
    for got, expected in zip(found, wanted, strict=True):
        assert replace(got, score=0, log_probability=0, alignment=None) == replace(
            expected, score=0, log_probability=0, alignment=None
        )
        assert got.score == pytest.approx(expected.score, abs=tolerance)
        torch.testing.assert_close(got.alignment, expected.alignment, rtol=0, atol=tolerance)


MakeModel = Callable[..., Model]
MakeDecode = Callable[..., DecodeConfig]


@pytest.fixture
def make_model() -> MakeModel:
    """A random model, sharp enough that no two translations are about equally good."""

    def make(
        vocabulary: int = 12,
        seed: int = 0,
        scale: float = 3.0,
        end: float = 0.0,
        clip: float | None = None,
        cells: bool = False,
        shortlist: Shortlist | None = None,
        change: Callable[[LayerGraph], LayerGraph] = lambda graph: graph,
        **changes: Any,
    ) -> Model:
        values: dict[str, Any] = {
            "name": "test",
            "architecture": "gnmt",
            "cell": "lstm",
            "encoder_layers": 2,
            "decoder_layers": 2,
            "hidden_size": 8,
            "dropout": 0.1,
            "embedding_dropout": 0.1,
            "residual": "full",
            "bidirectional_layers": 1,
            "context": "all",
            "normalisation": "none",
            "attention": "additive",
            "attention_heads": 1,
            "tie": "none",
        }
        bound = None if clip is None else Clip.fixed(clip, cells)
        graph = change(build_graph(GnmtConfig(**{**values, **changes}), vocabulary, bound))
        stack = graph.build(graph.names, seed)
        with torch.no_grad():
            for parameter in stack.parameters():
                parameter.mul_(scale)
            stack.canonical_parameters()["output.bias"][EOS] = end
        weights = {name: p.detach() for name, p in stack.canonical_parameters().items()}
        stepper = Stepper(graph, weights, lambda _: "cpu", shortlist=shortlist)
        return Model(graph, stack, stepper)

    return make


@pytest.fixture
def make_decode() -> MakeDecode:
    """The default settings with changes."""

    def make(**changes: Any) -> DecodeConfig:
        return DecodeConfig(**{**DEFAULT.model_dump(), "no_repeat_ngram": 0, **changes})

    return make
