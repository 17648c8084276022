from __future__ import annotations

from typing import Any

import pytest

from nmt.config import Direction, Settings, find_direction, read
from nmt.errors import ConfigurationError, InputError


class Holder(Settings):
    """A group of settings with a direction in it."""

    direction: Direction


def directions(*codes: str) -> list[Direction]:
    return [read(Holder, {"direction": code}).direction for code in codes]


@pytest.mark.parametrize("value", ["en-de", {"source": "en", "target": "de"}])
def test_a_direction_can_be_written_in_two_ways(value: Any) -> None:
    (direction,) = {
        read(Holder, {"direction": value}).direction,
        Direction(source="en", target="de"),
    }
    assert (direction.source, direction.target) == ("en", "de")
    assert (str(direction), f"{direction}", direction.code) == ("en→de", "en→de", "en-de")
    assert read(Direction, direction.model_dump(mode="json")) == direction


def test_codes_with_regions_and_scripts() -> None:
    direction = Direction(source="zh-Hans", target="pt-BR")
    assert (str(direction), direction.code) == ("zh-Hans→pt-BR", "zh-Hans-pt-BR")


@pytest.mark.parametrize("value", ["en", "", "en-", "-de", "en-pt-BR"])
def test_a_text_that_is_not_two_codes(value: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(Holder, {"direction": value})
    assert error.value.mistakes == [
        "`direction` must be two language codes, such as `en-de`, or `{source: …, target: …}` "
        f"where a code has a hyphen of its own, but is {value!r} instead."
    ]


@pytest.mark.parametrize("code", ["", "en_GB", "1337", "en-", "e n", "en\n", "español"])
def test_a_code_that_is_none(code: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(Holder, {"direction": {"source": "de", "target": code}})
    assert error.value.mistakes == [
        "`direction.target` must be a language code of letters, digits and hyphens, such as `en` "
        f"or `pt-BR`, but is {code!r} instead."
    ]


def test_the_only_direction_needs_no_name() -> None:
    (only,) = known = directions("en-de")
    for languages in ({}, {"source": "en"}, {"target": "de"}, {"source": "en", "target": "de"}):
        assert find_direction(known, **languages) == only


def test_one_of_several_directions() -> None:
    known = directions("en-de", "en-fr", "de-fr")
    assert find_direction(known, "en", "fr") == known[1]
    assert find_direction(known, target="de") == known[0]
    assert find_direction(known, source="de") == known[2]


@pytest.mark.parametrize(
    ("languages", "sentence"),
    [
        (
            {},
            "`source` and `target` must match one of the model's directions, but match several "
            "(en→de, en→fr, de→fr); set both.",
        ),
        (
            {"source": "en"},
            "`source` and `target` must match one of the model's directions, but match several "
            "(en→de, en→fr); set both.",
        ),
        (
            {"source": "de", "target": "en"},
            "`source` and `target` must be one of the model's directions (en→de, en→fr, de→fr), "
            "but are 'de' and 'en' instead.",
        ),
        (
            {"target": "es"},
            "`source` and `target` must be one of the model's directions (en→de, en→fr, de→fr), "
            "but are None and 'es' instead.",
        ),
    ],
)
def test_a_choice_that_is_none(languages: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        find_direction(directions("en-de", "en-fr", "de-fr"), **languages)
    assert str(error.value) == sentence
