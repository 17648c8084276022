"""Sources that are too long for the model, and what is no source."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmt.decoding.translator import Translator
from nmt.errors import InputError

SENTENCE = "Two dogs play with a red ball, and the woman reads. "


@pytest.fixture(scope="module")
def translator(tiny_model_folder: Path) -> Translator:
    return Translator.load(tiny_model_folder, device="cpu", threads=1)


def limited(translator: Translator, longest: int, **changes: Any) -> Any:
    return translator.decode.model_copy(update={"max_source_tokens": longest, **changes})


def test_a_long_source_is_translated_in_parts(translator: Translator) -> None:
    decode = limited(translator, 30)
    texts = ["A man is sleeping.", SENTENCE * 20, "", "The woman reads."]
    found = translator.translate(texts, decode, alignments=True)
    alone = translator.translate([texts[0], texts[3]], decode, alignments=True)
    assert [found[0], found[3]] == alone
    long = found[1]
    assert [one.parts for one in found] == [1, long.parts, 1, 1]
    assert len(long.text.split()) > 20
    assert long.alternatives == []
    assert long.alignment is not None
    assert long.alignment.shape == (len(long.tokens), len(long.source_tokens))
    assert long.parts >= 20  # its sentences
    (as_text,) = translator.translate_texts([texts[1]], decode=decode)
    assert as_text == long.text


def test_the_alignment_of_parts_is_in_blocks(translator: Translator) -> None:
    text = "The woman reads; " * 12
    (whole,) = translator.translate([text], limited(translator, 20), alignments=True)
    assert whole.alignment is not None
    rows, columns = np.nonzero(whole.alignment)
    # Far from the diagonal, no piece attends to another part's.
    slope = len(whole.source_tokens) / len(whole.tokens)
    assert np.abs(columns - slope * rows).max() < len(whole.source_tokens) / 2


def test_the_limit_is_the_model_s_own(translator: Translator) -> None:
    assert translator.longest_source == 100  # of a folder that does not tell
    short, long = "The woman reads. ", SENTENCE * 20
    parts = [one.parts for one in translator.translate([short, long])]
    assert parts[0] == 1
    assert parts[1] > 1


ODD = {
    "words": "dog ",
    "one letter": "a",
    "combining marks": "e\u0301\u0301",
    "less than": "<",
    "entities": "&amp;",
    "brackets": "([{",
    "full stops": ".",
    "emoji": "😀",
    "addresses": "a@b.c ",
    "placeholders": "{{a}}",
    "control": "\0\x07",
    "ideographs": "漢字",
}


@pytest.mark.parametrize("kind", ODD)
def test_the_model_never_reads_more_than_it_can(
    translator: Translator, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = limited(translator, 50, beam_size=1, coverage_penalty=0.0)
    search, lengths = translator._search, [0]

    def counting(sources: Sequence[Sequence[int]], *rest: Any) -> Any:
        lengths.extend(map(len, sources))
        return search(sources, *rest)

    monkeypatch.setattr(translator, "_search", counting)
    text = (ODD[kind] * 3000)[:3000]
    (found,) = translator.translate([text], decode)
    (joined,) = translator.translate_texts([text], decode=decode)
    assert max(lengths) <= 50
    if not any(map(str.isalpha, text)):
        assert found.text == joined == text  # nothing is lost


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one", "`texts` must be a list of strings, but is one string instead."),
        (b"one", "`texts` must be a list of strings, but is bytes instead."),
        (None, "`texts` must be a list of strings, but is NoneType instead."),
        (7, "`texts` must be a list of strings, but is int instead."),
        ({"a": "b"}, "`texts` must be a list of strings, but is dict instead."),
        (["a", None], r"`texts\[1\]` must be a string, but is NoneType instead."),
        (["a", 1.5], r"`texts\[1\]` must be a string, but is float instead."),
        ([b"a"], r"`texts\[0\]` must be a string, but is bytes instead."),
        ([["a"]], r"`texts\[0\]` must be a string, but is list instead."),
        (
            ["a", "b\ud800"],
            r"`texts\[1\]` must be Unicode text, but has a lone surrogate \(U\+D800",
        ),
    ],
)
def test_what_is_no_list_of_texts(translator: Translator, texts: Any, message: str) -> None:
    for translate in (translator.translate, translator.translate_texts):
        with pytest.raises(InputError, match=message):
            translate(texts)


def test_any_iterable_of_texts(translator: Translator) -> None:
    expected = translator.translate(["The woman reads."])
    every: list[Iterable[str]] = [
        ("The woman reads.",),
        iter(["The woman reads."]),
        np.array(["The woman reads."]),
    ]
    for texts in every:
        assert translator.translate(texts) == expected
