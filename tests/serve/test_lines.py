import pytest

from serve.lines import split


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("One.", ["One."]),
        ("", []),
        (" \n\t", []),
        ("12 + 3 = 15 🙂", []),
        ("One.\nTwo.", ["One.", "Two."]),
        ("  One. \r\n\r\n\tTwo.\n", ["One.", "Two."]),
        ("One.\r1.\nÉ", ["One.", "É"]),
        ("\u00a0今日は\u3000", ["今日は"]),
    ],
)
def test_lines_with_letters_are_segments_and_the_rest_stays(text: str, segments: list[str]) -> None:
    lines = split(text)
    assert lines.segments == segments
    assert lines.join(segments) == text


def test_translations_take_the_segments_places() -> None:
    assert split("  One. \r\n\r\n\tTwo.\n").join(["EINS", "ZWEI"]) == "  EINS \r\n\r\n\tZWEI\n"


def test_a_translation_for_each_segment_is_needed() -> None:
    with pytest.raises(ValueError, match="argument"):
        split("One.\nTwo.").join(["EINS"])
