from __future__ import annotations

from pathlib import Path

import pytest

from nmt.errors import ConfigurationError
from serve.auth import Keys
from serve.detection import detect
from serve.errors import RequestError
from serve.limits import Rates
from tests.serve.conftest import LIMITS


def test_a_minute_s_allowance_fills_evenly() -> None:
    rates = Rates(LIMITS.model_copy(update={"requests_per_minute": 2}))
    rates.check("anna", 5, now=0.0)
    rates.check("anna", 5, now=0.0)
    rates.check("bert", 5, now=0.0)
    with pytest.raises(RequestError) as refused:
        rates.check("anna", 5, now=1.0)
    assert (refused.value.status, refused.value.retry_after) == (429, 29)
    rates.check("anna", 5, now=30.0)
    with pytest.raises(RequestError):
        rates.check("anna", 5, now=31.0)


def test_characters_count_too() -> None:
    rates = Rates(LIMITS.model_copy(update={"characters_per_minute": 600}))
    rates.check("anna", 10_000, now=0.0)  # more than a minute's: all of it
    with pytest.raises(RequestError) as refused:
        rates.check("anna", 100, now=5.0)
    assert refused.value.retry_after == 5
    rates.check("anna", 100, now=10.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("anna\n", "line 1 of .* must be a name, unlike all others, and a key"),
        ("# none\n", "`keys` must have a key, but"),
        ("anna a\nanna b\n", "line 2 of"),
        ("anna a b\n", "line 1 of"),
    ],
)
def test_what_is_wrong_with_a_file_of_keys(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=sentence):
        Keys.load(str(file))
    with pytest.raises(ConfigurationError, match="`keys` must be a file of keys, but"):
        Keys.load(str(tmp_path / "missing"))


def test_languages_are_those_of_the_models_alone() -> None:
    assert [one.language for one in detect("Hello", ["en", "de"])] == ["en", "de"]
    assert detect("Guten Morgen, wie geht es dir?", ["en", "de"])[0].language == "de"
    assert detect("whatever", ["en"]) == [("en", 100.0)]
    unknown = detect("Hello there, my friend", ["en", "xx", "de"])
    assert unknown[0].language == "en"
    assert unknown[-1] == ("xx", 0.0), "the identifier does not know it"
    assert detect("Hello", ["xx", "xy"]) == [("xx", 0.0), ("xy", 0.0)]
