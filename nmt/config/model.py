"""Settings of conf/model, with one class for each architecture.

`nmt.model.build` builds the graph. Other code uses only what every class has: `summary`, `width`,
`has_cells` and `with_depth`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from nmt.config.settings import Fraction, PositiveInt, Settings, Text
from nmt.errors import RuleError
from nmt.rules.cells import KNOWN_CELLS, read_cell

# Number of layers of the encoder or the decoder: below its other layers, GNMT's encoder has a
# bidirectional layer, and its decoder one whose output is the query of the attention.
Depth = Annotated[int, Field(ge=2, le=256)]


class GnmtConfig(Settings):
    """conf/model: the architecture and its size."""

    name: Text = Field(description="Name of this configuration, for reports.")
    architecture: Literal["gnmt"] = Field(description="Graph of layers to build.")
    cell: Text = Field(
        description="The recurrent layers: lstm; gru, which is a quarter smaller; or a cell of "
        "one's own, such as `h = tanh(x0 + h0)`."
    )
    encoder_layers: Depth = Field(
        description="Number of recurrent layers of the encoder; the first reads both ways."
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
    bidirectional_layers: PositiveInt = Field(
        description="Number of encoder layers, from the first, that read both ways; at most one "
        "less than `encoder_layers`, since the last one joins both."
    )
    context: Literal["all", "first"] = Field(
        description="Decoder layers above the bottom that read the attention: all of them, or the "
        "first alone."
    )
    normalisation: Literal["none", "layer"] = Field(
        description="layer: layer normalisation of the output of every recurrent layer, before its "
        "residual connection."
    )
    attention: Literal["additive", "dot"] = Field(
        description="Scores of the attention: additive, as in GNMT, or dot, scaled products."
    )
    attention_heads: PositiveInt = Field(
        description="Heads of the attention, of which each has its part of the units; a divisor of "
        "`hidden_size`."
    )
    tie: Literal["none", "target", "all"] = Field(
        description="Matrices that are shared. target: the target embedding and the output layer; "
        "all: the source embedding too."
    )

    @model_validator(mode="after")
    def _a_cell(self) -> GnmtConfig:
        try:
            read_cell(self.cell)
        except RuleError as error:
            raise ValueError(
                f"`cell` must be lstm, gru or a cell of one's own, but is {self.cell!r} instead. "
                f"{error}"
            ) from None
        return self

    @model_validator(mode="after")
    def _joins(self) -> GnmtConfig:
        if self.bidirectional_layers >= self.encoder_layers:
            raise ValueError(
                f"`bidirectional_layers` must be less than `encoder_layers` "
                f"({self.encoder_layers}), but is {self.bidirectional_layers} instead."
            )
        return self

    @model_validator(mode="after")
    def _divides(self) -> GnmtConfig:
        if self.hidden_size % self.attention_heads:
            raise ValueError(
                "`attention_heads` must be a divisor of `hidden_size` "
                f"({self.hidden_size}), but is {self.attention_heads} instead."
            )
        return self

    @property
    def summary(self) -> str:
        """The size in a few words, for reports."""
        cell = self.cell.upper() if self.cell in KNOWN_CELLS else "recurrent"
        return (
            f"{self.encoder_layers} encoder and {self.decoder_layers} decoder "
            f"{cell} layers of {self.hidden_size} units"
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
