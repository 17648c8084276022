"""The types and values of settings as text, for the reference of all settings."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from nmt.config.direction import Direction
from nmt.config.settings import Settings

BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
NAMES = {Any: "any value", int: "integer", float: "number", str: "text", bool: "`true`, `false`"}


def settings_in(annotation: Any) -> list[type[Settings]]:
    """The classes of settings in an annotation; several if it is a union of them."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [] if annotation is Direction else [annotation]
    if get_origin(annotation) in (list, tuple, dict, Literal):
        return []
    return [kind for part in get_args(annotation) for kind in settings_in(part)]


def items_in(annotation: Any) -> tuple[str, list[type[Settings]]]:
    """For a list or dictionary of settings: the suffix of an item's path, and the classes of its
    items. Otherwise: no suffix, and no classes."""
    suffixes = {list: "[]", dict: ".NAME"}
    if get_origin(annotation) in suffixes:
        return suffixes[get_origin(annotation)], settings_in(get_args(annotation)[-1])
    return "", []


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The values that an annotation and its metadata allow, as Markdown."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return allowed(inner, [*more, *metadata])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = get_args(annotation)
        words = [allowed(part, metadata) for part in parts if part is not type(None)]
        return " or ".join([*words, *(["null"] if type(None) in parts else [])])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (list, tuple):
        words = [allowed(part) for part in get_args(annotation) if part is not Ellipsis]
        return f"list of {words[0]}" if len(set(words)) == 1 else f"list: {', '.join(words)}"
    if get_origin(annotation) is dict:
        return f"by name: {allowed(get_args(annotation)[1])}"
    if annotation is Direction:
        return "direction (`en-de`)"
    if settings_in(annotation):
        return "settings"
    return NAMES[annotation] + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    """The bounds in pydantic's metadata of a type, such as ` ≥ 1`."""
    flat = [
        part
        for item in metadata
        for part in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    # Of several bounds of a kind, pydantic checks the last one alone.
    bounds = {
        sign: f"{sign} {getattr(part, name)}"
        for part in flat
        for kind, (sign, name) in BOUNDS.items()
        if isinstance(part, kind)
    }
    return f" {', '.join(bounds.values())}" if bounds else ""


def shown(value: Any) -> str:
    """A value as it is written in YAML, as Markdown."""
    if isinstance(value, str):
        return f"`{value}`" if value else '`""`'
    if isinstance(value, list | dict):
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        return f"`{text.strip()}`"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
