"""Paths of settings, such as `training.max_steps`: which there are, and what values they take."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from nmt.config.allowed import items_in, settings_in
from nmt.config.settings import Settings
from nmt.errors import ConfigurationError

PACKAGE = Path(__file__).resolve().parents[1]


def configuration_folder() -> Path:
    """The folder of the YAML files: `nmt/conf` in a wheel, `conf` beside `nmt` in a checkout.

    Raises:
        ConfigurationError: it is in neither place.
    """
    return _shipped("conf", "conf")


def sample_folder() -> Path:
    """The folder of the sample corpus: `nmt/sample` in a wheel, `data/sample` in a checkout.

    Raises:
        ConfigurationError: it is in neither place.
    """
    return _shipped("sample", "data/sample")


def _shipped(in_wheel: str, in_checkout: str) -> Path:
    for folder in (PACKAGE / in_wheel, PACKAGE.parent / in_checkout):
        if folder.is_dir():
            return folder
    raise ConfigurationError(
        [
            f"The folder `{in_checkout}` must be in or beside `{PACKAGE}`, but is not; install nmt "
            "again."
        ]
    )


def annotations_at(kind: type[Settings], path: Sequence[str]) -> list[Any]:
    """The annotations of the setting at a path: none if there is no such setting, several if it is
    in several members of a union."""
    field = kind.model_fields.get(path[0]) if path else None
    if field is None:
        return []
    rest = path[1:]
    if not rest:
        return [field.annotation]
    suffix, kinds = items_in(field.annotation)
    if suffix == ".NAME":
        return [kind for kind in kinds for kind in annotations_at(kind, rest[1:])]
    return [found for one in settings_in(field.annotation) for found in annotations_at(one, rest)]


def setting_paths(kind: type[Settings], prefix: str = "") -> Iterator[str]:
    """The paths of all settings and groups of settings; those of named items are left out."""
    for name, field in kind.model_fields.items():
        yield prefix + name
        for nested in settings_in(field.annotation):
            yield from setting_paths(nested, f"{prefix}{name}.")


def similar_path(kind: type[Settings], path: str) -> str | None:
    """The path of a setting that is spelt alike, or is elsewhere under the same name."""
    paths = list(dict.fromkeys(setting_paths(kind)))
    last = path.rpartition(".")[2]
    elsewhere = [one for one in paths if one.rpartition(".")[2] == last]
    close = difflib.get_close_matches(path, paths, n=1, cutoff=0.75)
    return next(iter([*close, *elsewhere]), None)


def takes_text(annotation: Any) -> bool:
    """Whether a setting takes any text, such as a name or a path, alone or in a list."""
    if get_origin(annotation) is Annotated:
        return takes_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(takes_text(part) for part in get_args(annotation))
    if get_origin(annotation) is list:
        return takes_text(get_args(annotation)[0])
    return annotation is str


def takes_several(annotation: Any) -> bool:
    """Whether a setting may be a list."""
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(map(takes_several, get_args(annotation)))
    return get_origin(annotation) is list
