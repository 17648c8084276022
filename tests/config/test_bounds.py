"""Upper bounds of numbers: of several on one setting, pydantic checks the last one alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from annotated_types import Le
from pydantic import TypeAdapter

from nmt import config as config_module
from nmt.config.settings import Settings

KINDS = [
    kind
    for kind in vars(config_module).values()
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
]


def numbers(annotation: Any, metadata: list[Any]) -> Iterator[tuple[type, list[Any]]]:
    """The numbers in an annotation, with what limits each."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        own = [part for one in more for part in getattr(one, "metadata", [one])]
        yield from numbers(inner, [*own, *metadata])
    elif annotation in (int, float):
        yield annotation, metadata
    else:
        for part in get_args(annotation):
            yield from numbers(part, metadata if type(None) in get_args(annotation) else [])


def all_numbers() -> Iterator[tuple[str, Any, list[Any]]]:
    for kind in KINDS:
        for name, field in kind.model_fields.items():
            for annotation, metadata in numbers(field.annotation, list(field.metadata)):
                yield f"{kind.__name__}.{name}", annotation, metadata


def test_there_are_many() -> None:
    assert len(list(all_numbers())) > 80


@pytest.mark.parametrize(
    ("name", "metadata"), [(name, metadata) for name, _, metadata in all_numbers()]
)
def test_every_number_has_both_bounds_and_the_narrowest_counts(
    name: str, metadata: list[Any]
) -> None:
    least: list[Any] = [getattr(one, "ge", getattr(one, "gt", None)) for one in metadata]
    most: list[Any] = [getattr(one, "le", getattr(one, "lt", None)) for one in metadata]
    least, most = ([bound for bound in side if bound is not None] for side in (least, most))
    assert least, name
    assert most, name
    assert least[-1] == max(least), name
    assert most[-1] == min(most), name


def test_pydantic_checks_the_last_bound_alone() -> None:
    wide = Annotated[Annotated[int, Le(10)], Le(20)]
    assert TypeAdapter(wide).validate_python(15) == 15, "the reason for the test above"
