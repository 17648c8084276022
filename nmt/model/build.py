"""From a model's configuration to its graph."""

from __future__ import annotations

from collections.abc import Callable

from nmt.config import ModelConfig
from nmt.model.clip import Clip
from nmt.model.gnmt import gnmt
from nmt.model.graph import LayerGraph

# By `ModelConfig.architecture`, which tells the classes of settings apart.
ARCHITECTURES: dict[str, Callable[[ModelConfig, int, Clip | None], LayerGraph]] = {"gnmt": gnmt}


def build_graph(config: ModelConfig, vocabulary: int, clip: Clip | None = None) -> LayerGraph:
    """The graph of layers for a joint vocabulary of that many tokens; `clip` bounds the layers'
    outputs."""
    return ARCHITECTURES[config.architecture](config, vocabulary, clip)
