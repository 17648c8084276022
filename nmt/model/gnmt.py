"""The GNMT architecture (Wu et al. 2016) as a graph of layers.

Encoder: a bidirectional first layer, whose two directions are nodes that can run at the same time,
then unidirectional layers. Decoder: attention is queried from the bottom layer, and its context is
an input of every layer above. Residual connections from the third encoder layer and the second
decoder layer on, where the widths are the same.

With `residual: full` there are two more: around the second encoder layer (the sum of both
directions), and from the attention to the output (RNMT+ gives its output layer the context, too;
Chen et al. 2018). A source word then reaches the output without passing through a recurrent layer,
and the attention learns to align within the first epoch instead of several epochs later.
"""

from __future__ import annotations

from functools import partial

from nmt.config import GnmtConfig
from nmt.model.attention import Attention, AttentionKeys
from nmt.model.cells import CELLS
from nmt.model.clip import Clip
from nmt.model.embedding import Embedding
from nmt.model.graph import Axis, LayerGraph, Node, PerPosition
from nmt.model.output import Output

SOURCE_TIME, TARGET_TIME = 1, 2  # places in a batch's global shape


def gnmt(config: GnmtConfig, vocabulary: int, clip: Clip | None = None) -> LayerGraph:
    """The graph for a joint vocabulary of that many tokens; `clip` bounds the layers' outputs."""
    full = config.residual == "full"
    H, rate, words = config.hidden_size, config.dropout, config.embedding_dropout
    vectors, cell = PerPosition((H,)), CELLS[config.cell]
    target_shares = {"weight": "source_embedding.weight"} if config.tie == "all" else {}
    output_owner = "source_embedding" if config.tie == "all" else "target_embedding"
    output_shares = {} if config.tie == "none" else {"weight": f"{output_owner}.weight"}

    def embedding(side: str, field: str, axis: Axis, time: int, shares: dict[str, str]) -> Node:
        name = f"{side}_embedding"
        build = partial(Embedding, name, vocabulary, H, words, time)
        return Node(name, build, (f"batch.{field}",), axis, vectors, shares)

    def recurrent(name: str, inputs: tuple[str, ...], residuals: int, axis: Axis) -> Node:
        time = SOURCE_TIME if axis is Axis.SOURCE else TARGET_TIME
        build = partial(cell, name, H * len(inputs), H, rate, residuals, time, clip)
        return Node(name, build, inputs, axis, vectors, {})

    first = ("encoder.0.left_to_right", "encoder.0.right_to_left")
    nodes = [
        embedding("source", "source", Axis.SOURCE, SOURCE_TIME, {}),
        recurrent(first[0], ("source_embedding",), 0, Axis.SOURCE),
        Node(
            first[1],
            partial(cell, first[1], H, H, rate, 0, SOURCE_TIME, clip, reverse=True),
            ("source_embedding", "batch.source_lengths"),
            Axis.SOURCE,
            vectors,
            {},
            chunkable=False,
        ),
        recurrent("encoder.1", first, len(first) if full else 0, Axis.SOURCE),
    ]
    for i in range(2, config.encoder_layers):
        nodes.append(recurrent(f"encoder.{i}", (f"encoder.{i - 1}",), 1, Axis.SOURCE))
    top = nodes[-1].name
    nodes += [
        Node(
            "attention_keys",
            partial(AttentionKeys, "attention_keys", H, H),
            (top,),
            Axis.SOURCE,
            vectors,
            {},
        ),
        embedding("target", "target_input", Axis.TARGET, TARGET_TIME, target_shares),
        recurrent("decoder.0", ("target_embedding",), 0, Axis.TARGET),
        Node(
            "attention",
            partial(Attention, "attention", H, H),
            ("decoder.0", "attention_keys", top, "batch.source_lengths"),
            Axis.TARGET,
            vectors,
            {},
        ),
    ]
    for i in range(1, config.decoder_layers):
        nodes.append(recurrent(f"decoder.{i}", (f"decoder.{i - 1}", "attention"), 1, Axis.TARGET))
    summed = (nodes[-1].name, "attention") if full else (nodes[-1].name,)
    nodes.append(
        Node(
            "output",
            partial(Output, "output", H, vocabulary, rate, clip is not None),
            (*summed, "batch.target_index"),
            Axis.TARGET,
            PerPosition((vocabulary,)),
            output_shares,
        )
    )
    return LayerGraph(f"gnmt-{config.name}-{vocabulary}", tuple(nodes), alignment="attention")
