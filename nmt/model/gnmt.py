"""The GNMT architecture (Wu et al. 2016) as a graph of layers.

Encoder: a bidirectional first layer, or several, whose two directions are nodes that can run at the
same time, then unidirectional layers. Decoder: attention is queried from the bottom layer, and its
context is an input of every layer above, or of the first of them. Residual connections from the
third encoder layer and the second decoder layer on, where the widths are the same; in a
bidirectional layer, each direction adds its own.

With `residual: full` there are two more: around the second encoder layer (the sum of both
directions), and from the attention to the output (RNMT+ gives its output layer the context, too;
Chen et al. 2018). A source word then reaches the output without passing through a recurrent layer,
and the attention learns to align within the first epoch instead of several epochs later.
"""

from __future__ import annotations

from functools import partial

from nmt.config import GnmtConfig
from nmt.model.attention import Attention, AttentionKeys
from nmt.model.cells import recurrent_layer
from nmt.model.clip import Clip
from nmt.model.embedding import Embedding
from nmt.model.graph import Axis, LayerGraph, Node, PerPosition
from nmt.model.output import Output

TIMES = {Axis.SOURCE: 1, Axis.TARGET: 2}  # places in a batch's global shape


def gnmt(config: GnmtConfig, vocabulary: int, clip: Clip | None = None) -> LayerGraph:
    """The graph for a joint vocabulary of that many tokens; `clip` bounds the layers' outputs."""
    layers = _Layers(config, vocabulary, clip)
    encoder = layers.encoder()
    decoder = layers.decoder(memory=encoder[-1].name)
    nodes = (*encoder, layers.keys(encoder[-1].name), *decoder, layers.output(decoder[-1].name))
    return LayerGraph(f"gnmt-{config.name}-{vocabulary}", nodes, alignment="attention")


class _Layers:
    """The nodes of a graph."""

    def __init__(self, config: GnmtConfig, vocabulary: int, clip: Clip | None) -> None:
        self._config, self._vocabulary, self._clip = config, vocabulary, clip
        self._vectors = PerPosition((config.hidden_size,))
        self._full = config.residual == "full"

    def encoder(self) -> list[Node]:
        """From the source's embedding to the memory."""
        both = self._config.bidirectional_layers
        nodes = [self._embedding("source", "batch.source", Axis.SOURCE, {})]
        below: tuple[str, ...] = ("source_embedding",)
        for i in range(both):
            residuals = int(i > 1 or (i == 1 and self._full))
            forward, backward = f"encoder.{i}.left_to_right", f"encoder.{i}.right_to_left"
            nodes.append(self._recurrent(forward, below, residuals, Axis.SOURCE))
            # Each adds its own direction, which comes first.
            turned = self._recurrent(backward, below[::-1], residuals, Axis.SOURCE, reverse=True)
            nodes.append(turned)
            below = forward, backward
        joined = 2 if self._full else 0
        nodes.append(self._recurrent(f"encoder.{both}", below, joined, Axis.SOURCE))
        for i in range(both + 1, self._config.encoder_layers):
            nodes.append(self._recurrent(f"encoder.{i}", (f"encoder.{i - 1}",), 1, Axis.SOURCE))
        return nodes

    def decoder(self, memory: str) -> list[Node]:
        """From the target's embedding to the topmost recurrent layer."""
        H = self._config.hidden_size
        shares = {"weight": "source_embedding.weight"} if self._config.tie == "all" else {}
        reads = ("decoder.0", "attention_keys", memory, "batch.source_lengths")
        heads, kind = self._config.attention_heads, self._config.attention
        build = partial(Attention, "attention", H, H, heads, kind)
        nodes = [
            self._embedding("target", "batch.target_input", Axis.TARGET, shares),
            self._recurrent("decoder.0", ("target_embedding",), 0, Axis.TARGET),
            Node("attention", build, reads, Axis.TARGET, self._vectors, {}),
        ]
        for i in range(1, self._config.decoder_layers):
            reads_context = i == 1 or self._config.context == "all"
            inputs = (f"decoder.{i - 1}", *(("attention",) if reads_context else ()))
            nodes.append(self._recurrent(f"decoder.{i}", inputs, 1, Axis.TARGET))
        return nodes

    def keys(self, memory: str) -> Node:
        """The source side of the attention."""
        H = self._config.hidden_size
        build = partial(AttentionKeys, "attention_keys", H, H, self._config.attention)
        return Node("attention_keys", build, (memory,), Axis.SOURCE, self._vectors, {})

    def output(self, top: str) -> Node:
        """The scores of all tokens."""
        config, shares = self._config, dict[str, str]()
        if config.tie != "none":
            owner = "source_embedding" if config.tie == "all" else "target_embedding"
            shares = {"weight": f"{owner}.weight"}
        clipped = self._clip is not None
        build = partial(
            Output, "output", config.hidden_size, self._vocabulary, config.dropout, clipped
        )
        inputs = (top, *(("attention",) if self._full else ()), "batch.target_index")
        return Node("output", build, inputs, Axis.TARGET, PerPosition((self._vocabulary,)), shares)

    def _embedding(self, side: str, field: str, axis: Axis, shares: dict[str, str]) -> Node:
        config, name = self._config, f"{side}_embedding"
        size = self._vocabulary, config.hidden_size
        build = partial(Embedding, name, *size, config.embedding_dropout, TIMES[axis])
        return Node(name, build, (field,), axis, self._vectors, shares)

    def _recurrent(
        self, name: str, inputs: tuple[str, ...], residuals: int, axis: Axis, reverse: bool = False
    ) -> Node:
        config = self._config
        H = config.hidden_size
        build = partial(
            recurrent_layer(config.cell),
            name,
            H * len(inputs),
            H,
            config.dropout,
            residuals,
            TIMES[axis],
            self._clip,
            reverse,
            config.normalisation == "layer",
        )
        if reverse:
            inputs = (*inputs, "batch.source_lengths")
        return Node(name, build, inputs, axis, self._vectors, {}, chunkable=not reverse)
