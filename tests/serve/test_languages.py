"""Names of languages."""

from __future__ import annotations

import logging

import pytest

from serve.languages import name_of


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("de", "German"),
        ("nb", "Norwegian Bokmål"),
        ("pcm", "Nigerian Pidgin"),
        ("lg", "Ganda"),
        ("ibo", "Igbo"),
        ("swa", "Swahili"),
        ("fur", "Friulian"),
        ("crh", "Crimean Tatar"),
        ("zho_Hans", "Chinese (Simplified)"),
        ("kas-Deva", "Kashmiri (Devanagari)"),
        ("pt-BR", "Portuguese (Brazil)"),
    ],
)
def test_any_code_of_public_corpora(code: str, name: str) -> None:
    assert name_of(code) == name


# Of Multi30k, the Bible, FLORES, NLLB-Seed, MAFAND, GlobalVoices and the rest of public corpora.
CODES = (
    "ar bam bm ca cs de en eo es fr grn gn hr ibo it ja lb lij lmo ltg lug mri mi nl pcm pl pt ro "
    "ru scn srd sc sw swa szl twi vec vi yor zh zul"
)


@pytest.mark.parametrize("code", CODES.split())
def test_none_is_shown_as_a_code(code: str) -> None:
    assert name_of(code) != code


@pytest.mark.parametrize("code", ["digits", "zzz", "x!"])
def test_what_is_no_language_stands_for_itself(code: str, caplog: pytest.LogCaptureFixture) -> None:
    name_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert name_of(code) == name_of(code) == code
    messages = [one.getMessage() for one in caplog.records]
    assert messages == [f"no name is known for the language {code}; clients are shown its code"], (
        "once"
    )
