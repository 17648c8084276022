"""Every layer that a model can have is run in decoding."""

import pytest
import torch

from nmt.model.lstm import LstmLayer
from nmt.precision.formats import FloatFormat
from nmt.runtime.kinds import SOURCE_LAYERS, TARGET_LAYERS
from nmt.runtime.packing import Padding
from tests.random_models import MakeModel


def test_a_class_for_every_layer(make_model: MakeModel) -> None:
    graph = make_model(encoder_layers=3, decoder_layers=3).graph
    kinds = {type(node.build()) for node in graph.nodes}
    assert kinds <= SOURCE_LAYERS.keys() | TARGET_LAYERS.keys()


def test_a_layer_that_reads_no_source_is_not_given_one() -> None:
    layer = LstmLayer("layer", 4, 4, 0.0, 0, 2).requires_grad_(False)
    step = TARGET_LAYERS[LstmLayer](layer, FloatFormat(torch.float32), [1.0])
    with pytest.raises(AssertionError, match="LstmStep reads nothing of the source"):
        step.remember([], Padding(torch.tensor([1]), 1))
