"""The model folder: all that translation needs, in a folder that can be copied anywhere.

It holds `model.safetensors` (weights under canonical names; an int8 matrix has the scales of its
rows beside it as `<name>.scale`), `model.yaml` (a `ModelDescription`), `vocabulary.model`
(SentencePiece), `README.md` (the model card) and, with a shortlist of likely tokens,
`shortlist.safetensors`. `SHA256SUMS` has the checksums of those files that are not text; folders of
earlier versions have none. There is no pickle in it.
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

from nmt.config import Direction, ModelConfig, Settings, read
from nmt.config.settings import PositiveFloat, PositiveInt
from nmt.errors import ConfigurationError, ModelFolderError
from nmt.files import damage, new_folder, write_sums
from nmt.model.build import build_graph
from nmt.model.clip import Clip
from nmt.model.graph import LayerGraph, canonical_name
from nmt.model.rows import quantise
from nmt.model.shortlist import SHORTLIST, Shortlist

SCALE = ".scale"
WEIGHTS, DESCRIPTION, VOCABULARY, CARD = (
    "model.safetensors",
    "model.yaml",
    "vocabulary.model",
    "README.md",
)


class ModelDescription(Settings):
    """model.yaml: what the weights belong to."""

    format: Literal[4] = Field(description="Version of this layout.")
    model: ModelConfig
    vocabulary_size: int = Field(ge=1, description="Tokens of the joint vocabulary.")
    directions: list[Direction] = Field(
        min_length=1, description="The directions that it translates in."
    )
    longest_source: PositiveInt | None = Field(
        description="Pieces that nearly all sources of its training had at most; null: not known."
    )
    precision: Literal["fp32", "bf16"] = Field(description="Format the model was trained in.")
    weights: Literal["fp32", "int8"] = Field(description="Format the weights are stored in.")
    clip: PositiveFloat | None = Field(
        description="Largest absolute value of a layer's output; null: there is none."
    )
    clip_cells: bool = Field(description="Whether it bounds LSTM cells, too.")

    def graph(self) -> LayerGraph:
        """The graph of layers that has these weights."""
        clip = None if self.clip is None else Clip.fixed(self.clip, self.clip_cells)
        return build_graph(self.model, self.vocabulary_size, clip)


def write_model_folder(
    folder: Path,
    description: ModelDescription,
    weights: Mapping[str, Tensor],
    vocabulary: Path,
    card: str,
    shortlist: Shortlist | None = None,
) -> None:
    """Write the folder atomically: beside its place first, then renamed. `weights` are floats, in
    whatever format they are stored.

    Raises:
        StorageError: it cannot be written; an earlier one stays.
    """
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    with new_folder(new):
        save_file(_stored(weights, description.weights), new / WEIGHTS)
        (new / DESCRIPTION).write_text(
            yaml.safe_dump(description.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )
        shutil.copyfile(vocabulary, new / VOCABULARY)
        (new / CARD).write_text(card, encoding="utf-8")
        if shortlist is not None:
            shortlist.save(new)
        # safetensors makes its files readable for the owner only; they get the mode of the others.
        for file in new.glob("*.safetensors"):
            shutil.copymode(new / DESCRIPTION, file)
        # What people may edit is left out.
        names = (WEIGHTS, VOCABULARY, SHORTLIST)
        write_sums(new, [name for name in names if (new / name).exists()])
        replace_folder(new, folder, old)


def _stored(weights: Mapping[str, Tensor], number_format: str) -> dict[str, Tensor]:
    """The tensors of model.safetensors."""
    tensors = {}
    for name, value in weights.items():
        if number_format == "int8" and value.dim() == 2:
            tensors[name], tensors[name + SCALE] = quantise(value.float())
        else:
            tensors[name] = value.float().contiguous()
    return tensors


def replace_folder(new: Path, folder: Path, old: Path) -> None:
    """Replace `folder` by `new`. An interruption between the two renames leaves `old` complete."""
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
        return read(ModelDescription, _upgraded(values))
    except ConfigurationError as error:
        raise ModelFolderError(f"`{file}` is not a description of a model: {error}") from None


# Settings that models without them were trained with.
LATER: dict[str, Any] = {
    "bidirectional_layers": 1,
    "context": "all",
    "normalisation": "none",
    "attention": "additive",
    "attention_heads": 1,
}


def _upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a model.yaml of this or an earlier format, as this format has them."""
    values = dict(values)
    if values.get("format") == 1:  # before int8 weights and clipping
        values |= {"format": 2, "weights": "fp32", "clip": None, "clip_cells": False}
    if values.get("format") == 2:  # one direction, as two settings, and LSTMs alone
        model = values.get("model")
        values["model"] = model | {"cell": "lstm"} if isinstance(model, dict) else model
        languages = {side: values.pop(f"{side}_language", None) for side in ("source", "target")}
        values |= {"format": 3, "directions": [languages]}
    if values.get("format") == 3:  # before the longest source was kept
        values |= {"format": 4, "longest_source": None}
    if isinstance(model := values.get("model"), dict):  # settings that came later
        values["model"] = LATER | model
    return values


def read_weights(folder: Path, description: ModelDescription) -> dict[str, Tensor]:
    """The weights by canonical name; those that are stored in int8 are converted back to fp32.

    Raises:
        ModelFolderError: a file of the folder does not have its checksum; or the weights are
            damaged, or not the model's.
    """
    file = folder / WEIGHTS
    problem = damage(folder)
    if problem is not None:
        raise ModelFolderError(f"`{folder}` must be whole, but {problem}; get the folder again.")
    expected = expected_shapes(description.graph())
    try:
        with safe_open(file, framework="pt") as stored:
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"`{file}` must hold weights, but is damaged: {error}") from None
    if description.weights == "int8":
        weights = _restored(weights, file)
    for name, shape in expected.items():
        if name not in weights:
            raise ModelFolderError(f"`{file}` must hold `{name}`, but does not.")
        if weights[name].shape != shape:
            raise ModelFolderError(
                f"`{name}` in `{file}` must have the shape {tuple(shape)}, "
                f"but has {tuple(weights[name].shape)} instead."
            )
        if weights[name].dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            raise ModelFolderError(
                f"`{name}` in `{file}` must be of floating-point numbers, but is "
                f"{weights[name].dtype} instead."
            )
        if not bool(torch.isfinite(weights[name]).all()):
            raise ModelFolderError(
                f"`{name}` in `{file}` must be finite, but is not: training has diverged, or the "
                "file is damaged."
            )
    unknown = sorted(weights.keys() - expected.keys())
    if unknown:
        raise ModelFolderError(f"`{file}` holds `{unknown[0]}`, which the model does not have.")
    return weights


def _restored(stored: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Convert int8 matrices back to fp32 with the scales of their rows."""
    weights = {}
    for name, value in stored.items():
        if name.endswith(SCALE):
            continue
        if value.dtype == torch.int8:
            scales = stored.get(name + SCALE)
            if scales is None or scales.shape != value.shape[:1] or scales.dtype != torch.float32:
                raise ModelFolderError(
                    f"`{file}` must hold `{name + SCALE}`, one number for each row of `{name}`, "
                    "but does not; get the folder again."
                )
            value = value.float() * scales[:, None]
        weights[name] = value
    return weights


def expected_shapes(graph: LayerGraph) -> dict[str, torch.Size]:
    """Canonical parameter names and shapes of a graph, without allocating them."""
    shapes = {}
    for node in graph.nodes:
        with torch.device("meta"):
            layer = node.build()
        for name, parameter in layer.named_parameters():
            shapes[canonical_name(node, name)] = parameter.shape
    return shapes
