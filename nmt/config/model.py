"""conf/model: the architecture and its size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nmt.config.settings import Fraction, PositiveInt, Settings, Text

# Layers of one side: GNMT's encoder has a bidirectional layer below the others, and its decoder
# attends with the first layer for those above it.
Depth = Annotated[int, Field(ge=2)]


class ModelConfig(Settings):
    """conf/model: the architecture and its size."""

    name: Text = Field(description="Name of this configuration, for reports.")
    architecture: Literal["gnmt"] = Field(description="Which graph of layers to build.")
    encoder_layers: Depth = Field(
        description="LSTM layers of the encoder; the first is bidirectional."
    )
    decoder_layers: Depth = Field(description="LSTM layers of the decoder.")
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
