"""Which class runs each kind of layer in decoding, on the source side and on the target side.

Each is made of a layer of the graph, a number format, and the bounds of the node's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nmt.model.attention import Attention, AttentionKeys
from nmt.model.cell import CellLayer
from nmt.model.embedding import Embedding
from nmt.model.gru import GruLayer
from nmt.model.layer import Layer
from nmt.model.lstm import LstmLayer
from nmt.model.output import Output
from nmt.runtime.attention import AttentionStep, KeysProduct
from nmt.runtime.cell import CellScan, CellStep
from nmt.runtime.embedding import EmbeddingRows
from nmt.runtime.gru import GruScan, GruStep
from nmt.runtime.layer import SourceLayer, TargetLayer
from nmt.runtime.lstm import LstmScan, LstmStep
from nmt.runtime.output import OutputStep

SOURCE_LAYERS: Mapping[type[Layer], Callable[..., SourceLayer]] = {
    Embedding: EmbeddingRows,
    LstmLayer: LstmScan,
    GruLayer: GruScan,
    CellLayer: CellScan,
    AttentionKeys: KeysProduct,
}
TARGET_LAYERS: Mapping[type[Layer], Callable[..., TargetLayer]] = {
    Embedding: EmbeddingRows,
    LstmLayer: LstmStep,
    GruLayer: GruStep,
    CellLayer: CellStep,
    Attention: AttentionStep,
    Output: OutputStep,
}
