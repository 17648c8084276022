"""The model folder: all that translation needs, in one folder that can be copied anywhere.

`model.safetensors` (weights under canonical names), `model.yaml` (a `ModelDescription`),
`vocabulary.model` (SentencePiece) and `README.md` (the model card). No pickle in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nmt.config import ModelConfig, Settings, read
from nmt.errors import ConfigurationError, ModelFolderError
from nmt.model.build import build_graph
from nmt.model.graph import LayerGraph, canonical_name

WEIGHTS, DESCRIPTION, VOCABULARY, CARD = (
    "model.safetensors",
    "model.yaml",
    "vocabulary.model",
    "README.md",
)


class ModelDescription(Settings):
    """model.yaml: what the weights are."""

    format: Literal[1] = Field(description="Version of this layout.")
    model: ModelConfig
    vocabulary_size: int = Field(ge=1, description="Pieces of the joint vocabulary.")
    source_language: str = Field(description="Language code of the source side.")
    target_language: str = Field(description="Language code of the target side.")
    precision: Literal["fp32", "bf16"] = Field(description="Format the model was trained in.")

    def graph(self) -> LayerGraph:
        """The graph of layers that the weights belong to."""
        return build_graph(self.model, self.vocabulary_size)


def write_model_folder(
    folder: Path,
    description: ModelDescription,
    weights: Mapping[str, Tensor],
    vocabulary: Path,
    card: str,
) -> None:
    """Write the folder whole or not at all: beside its place first, then renamed."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file({name: value.float().contiguous() for name, value in weights.items()}, new / WEIGHTS)
    (new / DESCRIPTION).write_text(
        yaml.safe_dump(description.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    # safetensors lets only the owner read its file; a model is for whoever may read the others.
    shutil.copymode(new / DESCRIPTION, new / WEIGHTS)
    shutil.copyfile(vocabulary, new / VOCABULARY)
    (new / CARD).write_text(card, encoding="utf-8")
    replace_folder(new, folder, old)


def replace_folder(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`. A stop between the two renames leaves `old` whole."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_description(folder: Path) -> ModelDescription:
    """Check that the folder has its files, and read model.yaml.

    Raises:
        ModelFolderError: naming the file that is missing or wrong.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"`{folder}` must be a model folder, but there is no such folder.")
    for name in (DESCRIPTION, WEIGHTS, VOCABULARY):
        if not (folder / name).is_file():
            raise ModelFolderError(
                f"`{folder}` must hold {DESCRIPTION}, {WEIGHTS} and {VOCABULARY}, "
                f"but {name} is missing; give a folder such as runs/demo/best."
            )
    file = folder / DESCRIPTION
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"`{file}` must be YAML, but cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ModelFolderError(f"`{file}` must describe a model, but holds {values!r} instead.")
    try:
        return read(ModelDescription, values)
    except ConfigurationError as error:
        raise ModelFolderError(f"`{file}` is not a description of a model: {error}") from None


def read_weights(folder: Path, description: ModelDescription) -> dict[str, Tensor]:
    """The weights by canonical name, in the format they are stored in.

    Raises:
        ModelFolderError: the file is damaged, or its names or shapes are not the model's.
    """
    file = folder / WEIGHTS
    expected = expected_shapes(description.graph())
    try:
        with safe_open(file, framework="pt") as stored:
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"`{file}` must hold weights, but is damaged: {error}") from None
    for name, shape in expected.items():
        if name not in weights:
            raise ModelFolderError(f"`{file}` must hold `{name}`, but does not.")
        if weights[name].shape != shape:
            raise ModelFolderError(
                f"`{name}` in `{file}` must have the shape {tuple(shape)}, "
                f"but has {tuple(weights[name].shape)} instead."
            )
    unknown = sorted(weights.keys() - expected.keys())
    if unknown:
        raise ModelFolderError(f"`{file}` holds `{unknown[0]}`, which the model does not have.")
    return weights


def expected_shapes(graph: LayerGraph) -> dict[str, torch.Size]:
    """Canonical parameter names and shapes of a graph, without allocating them."""
    shapes = {}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        for own_name, parameter in layer.named_parameters():
            shapes[canonical_name(node, own_name)] = parameter.shape
    return shapes
