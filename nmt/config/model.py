"""conf/model: the architecture and its size. One class for each architecture.

Other code builds the graph (`nmt.model.build`), and uses what every class has: `summary`, `width`
and `with_depth`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from nmt.config.settings import Fraction, PositiveInt, Settings, Text

# Layers of one side: GNMT's encoder has a bidirectional layer below the others, and its decoder
# attends with the first layer for those above it.
Depth = Annotated[int, Field(ge=2)]


class GnmtConfig(Settings):
    """conf/model: the architecture and its size."""

    name: Text = Field(description="Name of this configuration, for reports.")
    architecture: Literal["gnmt"] = Field(description="Which graph of layers to build.")
    cell: Literal["lstm", "gru"] = Field(
        description="The recurrent layers: LSTMs, or GRUs, which are a quarter smaller."
    )
    encoder_layers: Depth = Field(
        description="Recurrent layers of the encoder; the first is bidirectional."
    )
    decoder_layers: Depth = Field(description="Recurrent layers of the decoder.")
    hidden_size: PositiveInt = Field(
        description="Units of every recurrent layer and width of embeddings."
    )
    dropout: Fraction = Field(
        description="Dropout on the input of every recurrent layer and of the output."
    )
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
        """The same with so many layers on each side."""
        return self.changed(
            encoder_layers=layers, decoder_layers=layers, name=f"{self.name}, {layers} layers"
        )


# Any architecture's settings. A second class makes it a union with `architecture` as discriminator.
ModelConfig: TypeAlias = GnmtConfig
