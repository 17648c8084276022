from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.text.document import Document, Splitter, Splitting
from nmt.text.markup import parse_document
from nmt.text.reinsertion import AlignedText

SPLITTER = Splitter("en", lambda text: len(text.split()), longest=12)


def shout(text: str) -> AlignedText:
    """Word for word, in upper case."""
    words = text.split()
    tokens = [f"▁{word.upper()}" for word in words]
    return AlignedText(
        " ".join(words).upper(), tokens, [f"▁{w}" for w in words], np.eye(len(words))
    )


def itself(text: str) -> AlignedText:
    """As it is."""
    words = [f"▁{word}" for word in text.split()]
    return AlignedText(text, words, words, np.eye(len(words)))


def backwards(text: str) -> AlignedText:
    """Likewise, the last word first."""
    words = text.split()
    turned = words[::-1]
    return AlignedText(
        " ".join(turned).upper(),
        [f"▁{word.upper()}" for word in turned],
        [f"▁{word}" for word in words],
        np.eye(len(words))[::-1],
    )


def segments(document: Document) -> list[str]:
    return [segment.text for segment in document.segments]


def shouted(text: str, form: str = "text", splitting: Splitting = "sentences") -> str:
    document = parse_document(SPLITTER, text, form, splitting)  # type: ignore[arg-type]
    return document.join([shout(segment.text) for segment in document.segments])


def test_sentences_and_white_space() -> None:
    text = "  Dr. Smith sleeps.  He dreams!\r\n\r\n\tTwo dogs\n3\n"
    document = SPLITTER.document(text)
    assert segments(document) == ["Dr. Smith sleeps.", "He dreams!", "Two dogs"]
    assert shouted(text) == "  DR. SMITH SLEEPS.  HE DREAMS!\r\n\r\n\tTWO DOGS\n3\n"


def test_lines_and_whole_texts() -> None:
    text = "One. Two.\nThree."
    assert segments(SPLITTER.document(text, "lines")) == ["One. Two.", "Three."]
    assert segments(SPLITTER.document(text, "none")) == [text]
    assert segments(SPLITTER.document(text, "nonewlines")) == ["One.", "Two.", "Three."]


@pytest.mark.parametrize(
    "text", ["", "  ", " 12 + 3 ", "…\n—\n", "{name}", "https://a.org/b c:1"[:15]]
)
def test_what_has_no_letters_to_translate_stays(text: str) -> None:
    document = SPLITTER.document(text)
    assert document.segments == []
    assert document.join([]) == text


def test_long_sentences_are_cut_at_punctuation_first() -> None:
    text = "one two three four five six, seven eight nine ten eleven twelve thirteen fourteen."
    document = SPLITTER.document(text)
    assert segments(document) == [
        "one two three four five six,",
        "seven eight nine ten eleven twelve thirteen fourteen.",
    ]
    assert shouted(text) == text.upper()
    endless = "word " * 50
    assert shouted(endless) == endless.upper()
    assert all(len(segment.split()) <= 12 for segment in segments(SPLITTER.document(endless)))


def test_a_word_without_end_is_cut_too() -> None:
    letters = Splitter("en", len, longest=10)
    document = letters.document("x" * 35)
    assert "".join(segments(document)) == "x" * 35
    assert all(len(segment) <= 10 for segment in segments(document))


@pytest.mark.parametrize(
    "kept",
    [
        "https://example.org/a?b=c#d",
        "www.example.org",
        "some.one+x@mail.example.org",
        "{name}",
        "${name}",
        "{{ user.name }}",
        "%s",
        "%(count)d",
        "%1$s",
    ],
)
def test_addresses_and_placeholders_survive(kept: str) -> None:
    document = SPLITTER.document(f"See {kept} now.")
    assert segments(document) == ["See now."]
    assert shouted(f"See {kept} now.") == f"SEE {kept} NOW."
    assert shouted(f"Look at {kept}.") == f"LOOK AT {kept}."
    assert shouted(f"{kept} is here") == f"{kept} IS HERE"
    assert shouted(f"Hello {kept}, you two") == f"HELLO {kept}, YOU TWO"


def test_placeholders_follow_the_words_around_them() -> None:
    document = SPLITTER.document("Hello {name} go home")
    (segment,) = document.segments
    assert segment.translated(backwards(segment.text)) == "HOME GO HELLO {name}"


def test_a_translation_without_words_loses_nothing() -> None:
    (segment,) = SPLITTER.document("Hello {name} go").segments
    assert segment.translated(AlignedText("", [], ["▁Hello", "▁go"], np.zeros((0, 2)))) == "{name}"


# Markup


def html(text: str) -> str:
    return shouted(text, "html")


def test_tags_stay_around_their_words() -> None:
    assert html("<p>A <b>big</b> dog</p>") == "<p>A <b>BIG</b> DOG</p>"
    assert html('<a href="x?a=1&amp;b=2">One two</a>, three.') == (
        '<a href="x?a=1&amp;b=2">ONE TWO,</a> THREE.'
    )


def test_tags_follow_words_that_move() -> None:
    document = parse_document(SPLITTER, "a <i>b <b>c</b></i> d", "html")
    (segment,) = document.segments
    assert segment.text == "a b c d"
    assert segment.translated(backwards(segment.text)) == "D <i><b>C</b> B</i> A"


def test_blocks_are_translated_one_by_one() -> None:
    text = "<ul>\n <li>One dog</li>\n <li>Two <br>dogs</li>\n</ul>"
    document = parse_document(SPLITTER, text, "html")
    assert segments(document) == ["One dog", "Two", "dogs"]
    assert html(text) == "<ul>\n <li>ONE DOG</li>\n <li>TWO <br>DOGS</li>\n</ul>"


def test_sentences_within_tags() -> None:
    text = "<p><b>One. Two</b> three.</p>"
    assert segments(parse_document(SPLITTER, text, "html")) == ["One.", "Two three."]
    # The pair is there once, around whole sentences.
    assert html(text) == "<p><b>ONE. TWO THREE.</b></p>"
    text = "<p><b>One. Two</b> mid <i>three. Four</i></p>"
    assert html(text) == "<p><b>ONE. </b><i>TWO MID THREE. FOUR</i></p>"


def test_entities_are_read_and_written() -> None:
    document = parse_document(SPLITTER, "<p>Fish &amp; chips &lt; 3&eacute;</p>", "html")
    assert segments(document) == ["Fish & chips < 3é"]
    assert html("<p>Fish &amp; chips &lt; 3&eacute;</p>") == "<p>FISH &amp; CHIPS &lt; 3É</p>"


@pytest.mark.parametrize(
    "kept",
    [
        "<script>if (a < b) { run('Hello there'); }</script>",
        "<style>p { color: red }</style>",
        "<code>for x in y</code>",
        '<span translate="no">Brand <b>name</b></span>',
        '<i class="x notranslate">Brand</i>',
        "<!-- a comment -->",
        '<img src="a.png" alt="a dog">',
        "<![CDATA[ some text ]]>",
    ],
)
def test_what_must_not_be_translated(kept: str) -> None:
    assert html(f"<p>One {kept} two</p>") == f"<p>ONE {kept} TWO</p>"
    assert html(kept) == kept


@pytest.mark.parametrize(
    "text",
    ["<b>bold", "bold</b>", "a <b>b <i>c</b> d</i>", "1 < 2 and 3 > 2", "<", "a <b", "</>", "<p"],
)
def test_markup_that_is_broken_loses_nothing(text: str) -> None:
    found = html(text)
    for tag in ("<b>", "</b>", "<i>", "</i>"):
        assert found.count(tag) == text.count(tag)
    tags = re.compile(r"</?\w>|&\w+;")
    letters, before = (tags.sub("", one.upper()) for one in (found, text))
    assert [c for c in letters if c.isalnum()] == [c for c in before if c.isalnum()]


def test_xml_finds_its_blocks_by_what_is_around_them() -> None:
    text = "<t>One <x id='1'/>two <Ph>three</Ph></t>"
    assert shouted(text, "xml") == "<t>ONE <x id='1'/>TWO <Ph>THREE</Ph></t>"
    text = (
        "<doc><p>One sentence. Two &own; here.</p>\n<p>Three <b><i>four</i></b>.</p><t>A</t></doc>"
    )
    document = parse_document(SPLITTER, text, "xml")
    assert segments(document) == ["One sentence.", "Two here.", "Three four.", "A"]
    assert shouted(text, "xml") == (
        "<doc><p>ONE SENTENCE. TWO &own; HERE.</p>\n<p>THREE <b><i>FOUR.</i></b></p><t>A</t></doc>"
    )
    assert shouted("<doc><p>a</q>b</doc>", "xml").count("<p>") == 1


def test_tags_side_by_side_do_not_cross() -> None:
    assert html("<b>Foo</b><i>bar baz</i> end") == "<b>FOOBAR</b> <i>BAZ</i> END"


def test_scripts_end_at_their_first_end() -> None:
    text = """<script>w("<script src=x>")</script><p>Hello you</p>"""
    assert html(text) == """<script>w("<script src=x>")</script><p>HELLO YOU</p>"""


def test_numbers_of_thousands_of_digits() -> None:
    assert html(f"<p>a &#{'9' * 5000};</p>").startswith("<p>A &amp;#999")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{name} "quoted" text', '{name} "QUOTED" TEXT'),
        ("Hi {name} (see below)", "HI {name} (SEE BELOW)"),
        ("{a} - {b} word", "{a} - {b} WORD"),
        ('File "{name}" not found.', 'FILE "{name}" NOT FOUND.'),
        ("Open ({count}) files", "OPEN ({count}) FILES"),
        (
            "Open https://x.org/search?Query=Dogs&Lang=En now.",
            "OPEN https://x.org/search?Query=Dogs&Lang=En NOW.",
        ),
        ("See www.Example.Com/A.B!C d", "SEE www.Example.Com/A.B!C D"),
    ],
)
def test_what_stands_around_placeholders(text: str, expected: str) -> None:
    assert shouted(text) == expected


def test_text_full_of_tags_does_not_take_long() -> None:
    splitter = Splitter("en", len, longest=10_000_000)
    deep = "<b>" * 1200 + "This is it. " * 300 + "</b>" * 1200
    unmatched = "<b>" * 5000 + "</i>" * 5000
    for text in (
        *(part * 20_000 for part in ("<a ", '<a "', "<!--", "<![CDATA[", "&", "{", "«", "<b>")),
        deep,
        unmatched,
    ):
        for form in ("html", "xml"):
            began = time.perf_counter()
            document = parse_document(splitter, text, form)
            assert time.perf_counter() - began < 5, (text[:10], form)
    document = parse_document(splitter, deep, "html")
    found = document.join([shout(segment.text) for segment in document.segments])
    assert found.count("<b>") == found.count("</b>") == 1200


TEXTS = st.text(alphabet="ab .<>/&;\n{}%s\"'!-", max_size=60)


@given(TEXTS)
def test_a_plain_text_is_whole_again(text: str) -> None:
    """Whatever it is: with each segment translated by itself, no character is lost or added but
    white space beside what was put back."""
    document = SPLITTER.document(text)
    translations = [itself(segment.text) for segment in document.segments]
    found = document.join(translations)
    assert sorted("".join(found.split())) == sorted("".join(text.split()))


@given(TEXTS)
def test_markup_is_never_lost(text: str) -> None:
    document = parse_document(SPLITTER, text, "html")
    found = document.join([shout(segment.text) for segment in document.segments])
    assert found.count("<b>") == text.count("<b>")
    assert parse_document(SPLITTER, text, "html") == document
