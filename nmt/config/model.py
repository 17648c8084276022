"""Settings of conf/model, with one class for each architecture.

`nmt.model.build` builds the graph. Other code uses only what every class has: `summary`, `width`,
`has_cells` and `with_depth`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from nmt.config.settings import Fraction, PositiveInt, Settings, Text

# Number of layers of the encoder or the decoder: below its other layers, GNMT's encoder has a
# bidirectional layer, and its decoder one whose output is the query of the attention.
Depth = Annotated[int, Field(ge=2, le=256)]


class GnmtConfig(Settings):
    """conf/model: the architecture and its size."""

    name: Text = Field(description="Name of this configuration, for reports.")
    architecture: Literal["gnmt"] = Field(description="Graph of layers to build.")
    cell: Literal["lstm", "gru"] = Field(
        description="The recurrent layers: LSTMs, or GRUs, which are a quarter smaller."
    )
    encoder_layers: Depth = Field(
        description="Number of recurrent layers of the encoder; the first is bidirectional."
    )
    decoder_layers: Depth = Field(description="Number of recurrent layers of the decoder.")
    hidden_size: Annotated[PositiveInt, Field(le=65_536)] = Field(
        description="Units of every recurrent layer, and width of embeddings."
    )
    dropout: Fraction = Field(
        description="Dropout probability on the inputs of recurrent layers and of the output layer."
    )
    embedding_dropout: Fraction = Field(
        description="Probability of zeroing the whole embedding of a piece in training."
    )
    residual: Literal["gnmt", "full"] = Field(
        description="gnmt: the residual connections of GNMT; full: also around the second encoder "
        "layer and from the attention to the output, so that words are learnt much sooner."
    )
    tie: Literal["none", "target", "all"] = Field(
        description="Matrices that are shared. target: the target embedding and the output layer; "
        "all: the source embedding too."
    )

    @property
    def summary(self) -> str:
        """The size in a few words, for reports."""
        return (
            f"{self.encoder_layers} encoder and {self.decoder_layers} decoder "
            f"{self.cell.upper()} layers of {self.hidden_size} units"
        )

    @property
    def width(self) -> int:
        """Units of a typical layer."""
        return self.hidden_size

    @property
    def has_cells(self) -> bool:
        """Whether the recurrent state has values beyond 1, which can be clipped."""
        return self.cell == "lstm"

    def with_depth(self, layers: int) -> GnmtConfig:
        """A copy with `layers` layers in the encoder and in the decoder."""
        return self.changed(
            encoder_layers=layers, decoder_layers=layers, name=f"{self.name}, {layers} layers"
        )


# The settings of any architecture. With a second one, this becomes a union that is discriminated by
# `architecture`.
ModelConfig: TypeAlias = GnmtConfig
