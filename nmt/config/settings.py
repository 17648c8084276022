"""The base class of all settings: strict types, and one error that lists all mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from nmt.errors import ConfigurationError

# No setting is larger; many have bounds of their own. Beyond, numbers overflow somewhere.
MOST = 10**9
LARGEST = 1e15  # bytes, for instance

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1, le=MOST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MOST)]
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=LARGEST)]
Text = Annotated[str, Field(min_length=1)]


def _name(value: str) -> str:
    if any(part in ("", ".", "..") for part in value.split("/")) or not value.isprintable():
        raise PydanticCustomError(
            "name",
            "a name, such as `mine` or `tries/mine`, that does not lead out of its folder",
        )
    return value


Name = Annotated[Text, AfterValidator(_name)]
QUOTE = "'"  # around names in the contexts of pydantic's errors
SomeSettings = TypeVar("SomeSettings", bound="Settings")


class Settings(BaseModel):
    """Base class of all groups of settings. Unknown keys are errors, and values are never converted
    to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def changed(self, **updates: Any) -> Self:
        """A copy with some settings replaced. Unlike pydantic's `model_copy`, it validates the
        values as those from YAML. A mapping changes only the settings of a group that it names:
        `config.changed(model={"dropout": 0.1})`.

        Raises:
            ConfigurationError: the settings are not valid with these values.
        """
        return read(type(self), _merged(self, updates))


def _merged(settings: Settings, updates: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(settings)
    for name, value in updates.items():
        group = values.get(name)
        if isinstance(group, Settings) and isinstance(value, Mapping):
            value = _merged(group, value)
        values[name] = value
    return values


def read(kind: type[SomeSettings], values: Mapping[str, Any]) -> SomeSettings:
    """Read plain nested values, as from YAML, as the settings `kind`.

    Raises:
        ConfigurationError: the values are not valid. Lists all mistakes, each with the path, the
            value, and the values that are allowed.
    """
    values = _lists_to_tuples(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        mistakes = [line for detail in details for line in _sentence(detail, values).splitlines()]
        raise ConfigurationError(mistakes) from None


def _lists_to_tuples(values: Any) -> Any:
    """Values with Adam's `betas`, the only tuple among the settings, as a tuple: YAML has none."""
    if isinstance(values, Mapping):
        return {
            key: tuple(value)
            if key == "betas" and isinstance(value, list)
            else _lists_to_tuples(value)
            for key, value in values.items()
        }
    return values


def _path_and_tag(detail: ErrorDetails, values: Any) -> tuple[str, str | None]:
    """The path of a mistake, and the member of a union that it is in, if any, as `path=tag`:
    pydantic puts the member's tag between the keys of the path."""
    path: list[str] = []
    tag = None
    for position, part in enumerate(detail["loc"]):
        is_missing = detail["type"] == "missing" and position == len(detail["loc"]) - 1
        if isinstance(values, Mapping) and part not in values and not is_missing:
            tag = f"{'.'.join(path)}={part}"
            continue
        path.append(str(part))
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
    return ".".join(path), tag


def _sentence(detail: ErrorDetails, values: Any) -> str:
    path, tag = _path_and_tag(detail, values)
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    given = f"but is {value!r} instead."
    match kind:
        case "extra_forbidden":
            where = f" with `{tag}`" if tag else ""
            return f"`{path}` is not a setting{where}; remove it or check its spelling."
        case "union_tag_invalid":
            discriminator = context["discriminator"].strip(QUOTE)
            *others, last = context["expected_tags"].split(", ")
            expected, given = f"{', '.join(others)} or {last}", value[discriminator]
            return f"`{path}.{discriminator}` must be one of {expected}, but is {given!r} instead."
        case "union_tag_not_found":
            return f"`{path}.{context['discriminator'].strip(QUOTE)}` must be set, but is missing."
        case "missing":
            return f"`{path}` must be set, but is missing."
        case "greater_than_equal":
            return f"`{path}` must be at least {context['ge']}, {given}"
        case "greater_than":
            return f"`{path}` must be greater than {context['gt']}, {given}"
        case "less_than_equal":
            return f"`{path}` must be at most {context['le']}, {given}"
        case "less_than":
            return f"`{path}` must be less than {context['lt']}, {given}"
        case "literal_error":
            return f"`{path}` must be one of {context['expected']}, {given}"
        case "value_error":
            where = f"In `{path}`, " if path else ""
            return where + str(context["error"])
        case "string_too_short" | "too_short":
            return f"`{path}` must not be empty."
        case "too_long":
            return f"`{path}` must have at most {context['max_length']} items, {given}"
        case "model_type" | "model_attributes_type":
            return f"`{path}` must be a group of settings, {given}"
        case _:
            expected = detail["msg"].removeprefix("Input should be ")
            return f"`{path}` must be {expected}, {given}"


def describe(kind: type[Settings]) -> Sequence[tuple[str, str]]:
    """The name and the description of every setting of a group, for documentation and tests."""
    return [
        (name, field.description or _summary(field)) for name, field in kind.model_fields.items()
    ]


def _summary(field: FieldInfo) -> str:
    """A description of a group of settings from the docstring of its class."""
    kinds = get_args(field.annotation) or (field.annotation,)
    assert all(isinstance(kind, type) for kind in kinds), "only settings may have no description"
    return summary_of(kinds)


def summary_of(kinds: Sequence[type[Settings]]) -> str:
    """A description from the docstring of a class, or of the closest common base class of several,
    without the name of its folder."""
    common = next(base for base in kinds[0].__mro__ if all(issubclass(k, base) for k in kinds))
    first = (common.__doc__ or "").split("\n\n")[0].removeprefix("conf/").split(": ", 1)[-1]
    return first[:1].upper() + " ".join(first[1:].split())
