import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nmt.config import DecodeConfig, read
from nmt.config.paths import configuration_folder
from nmt.decoding import DEFAULT, Translation, Translator
from nmt.decoding.translation import _word_of_pieces
from nmt.errors import ConfigurationError, InputError, ModelFolderError, PlanError
from nmt.model.folder import DESCRIPTION, VOCABULARY, read_description
from nmt.placement.plan import Plan

TEXTS = [
    "A man is sleeping.",
    "",
    "Two dogs play with a red ball near the water in the park.",
    "   ",
    "Dogs.",
    "The woman reads a book.",
]


@pytest.fixture(scope="module")
def translator(tiny_model_folder: Path) -> Translator:
    return Translator.load(tiny_model_folder, device="cpu")


def texts(translations: list[Translation]) -> list[str]:
    return [translation.text for translation in translations]


def test_the_default_is_beam5() -> None:
    values = yaml.safe_load((configuration_folder() / "decode" / "beam5.yaml").read_text("utf-8"))
    assert read(DecodeConfig, values) == DEFAULT


def test_translations_are_in_order_and_blanks_stay(translator: Translator) -> None:
    translations = translator.translate(TEXTS)
    assert [bool(one.source_tokens) for one in translations] == [bool(t.strip()) for t in TEXTS]
    assert translations[1] == translations[3] == Translation("", 0.0, 0.0, [], [], None, [], False)
    for text, together in zip(TEXTS, translations, strict=True):
        assert translator.translate([text])[0].text == together.text
    assert len(set(texts(translations))) >= 4  # blank, and texts that differ


def test_nothing_to_translate(translator: Translator) -> None:
    assert translator.translate([]) == []
    assert list(translator.translate_stream([], 5)) == []


def test_a_translation_says_how_it_came_about(translator: Translator) -> None:
    decode = DEFAULT.model_copy(update={"n_best": 3})
    (one,) = translator.translate(TEXTS[:1], decode, alignments=True)
    assert "".join(one.source_tokens).replace("▁", " ").strip() == TEXTS[0]
    assert (
        translator.vocabulary.decode(
            [translator.vocabulary._processor.piece_to_id(piece) for piece in one.tokens]
        )
        == one.text
    )
    assert one.log_probability < 0
    assert len(one.alternatives) == 2
    scores = [one.score, *(other.score for other in one.alternatives)]
    assert scores == sorted(scores, reverse=True)
    assert one.alignment is not None
    assert len(one.alignment) == len(one.tokens)
    for row in one.alignment:
        assert len(row) == len(one.source_tokens)
        assert 0 <= sum(row) <= 1 + 1e-5


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["▁a", "b", "▁c"], [0, 0, 1]),
        (["▁", "a", "▁", "▁", "▁c", "▁"], [0, 0, 1, 1, 1, 1]),
        (["a", "▁b"], [0, 1]),
        (["▁"], [0]),
    ],
)
def test_words_of_pieces_are_those_of_the_text(pieces: list[str], words: list[int]) -> None:
    eye = np.eye(len(pieces), dtype=np.float32)
    one = Translation("", 0.0, 0.0, pieces, pieces, eye, [], False)
    assert one.pharaoh() == " ".join(f"{word}-{word}" for word in sorted(set(words)))
    assert _word_of_pieces(pieces) == words
    assert max(words) < max(1, len("".join(pieces).replace("▁", " ").split()))


@pytest.mark.parametrize("batch", [1, 2, 64])
@pytest.mark.parametrize("beam", [1, 5])
def test_the_size_of_the_batch_does_not_matter(
    translator: Translator, batch: int, beam: int
) -> None:
    decode = DEFAULT.model_copy(update={"beam_size": beam})
    expected = texts(translator.translate(TEXTS * 2, decode))
    small = decode.model_copy(update={"batch_sentences": batch})
    assert texts(translator.translate(TEXTS * 2, small)) == expected


def test_a_stream_is_translated_a_buffer_at_a_time(translator: Translator) -> None:
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for text in TEXTS:
            taken += 1
            yield text

    stream = translator.translate_stream(lines(), 2)
    first = next(stream)
    assert taken == 2
    assert texts([first, *stream]) == texts(translator.translate(TEXTS))


def test_the_only_direction_may_be_named(translator: Translator) -> None:
    assert list(map(str, translator.directions)) == ["en→de"]
    expected = texts(translator.translate(TEXTS[:2]))
    assert texts(translator.translate(TEXTS[:2], source="en", target="de")) == expected
    assert texts(list(translator.translate_stream(TEXTS[:2], 2, target="de"))) == expected
    assert translator.translate_texts(TEXTS[:1], source="en") == expected[:1]


def test_a_direction_that_the_model_does_not_have(translator: Translator) -> None:
    sentence = (
        "`source` and `target` must be one of the model's directions (en→de), but are 'de' and "
        "'en' instead."
    )
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        translator.translate(TEXTS, source="de", target="en")
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        next(translator.translate_stream(TEXTS, 1, source="de", target="en"))
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        translator.translate_texts(TEXTS, source="de", target="en")


def test_a_model_of_several_directions_must_be_told_which(translator: Translator) -> None:
    directions = [{"source": "en", "target": "de"}, {"source": "en", "target": "fr"}]
    description = translator.description.changed(directions=directions)
    several = Translator(description, translator.vocabulary, translator.stepper)
    with pytest.raises(InputError, match=r"but match several \(en→de, en→fr\); set both\.$"):
        several.translate(TEXTS, source="en")
    expected = texts(translator.translate(TEXTS[:2]))
    assert texts(several.translate(TEXTS[:2], target="fr")) == expected


def make_plan(folder: Path, *devices: str) -> Plan:
    graph = read_description(folder).graph()
    placement = {name: i % len(devices) for i, name in enumerate(graph.names)}
    return Plan(graph=graph.name, devices=list(devices), placement=placement)


def test_a_plan_over_two_devices_gives_the_same(
    translator: Translator, tiny_model_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(tiny_model_folder, "cpu", "cpu:0")
    plan.save(tmp_path / "plan.json")
    expected = texts(translator.translate(TEXTS))
    for given in (plan, tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert texts(Translator.load(tiny_model_folder, plan=given).translate(TEXTS)) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_plan_over_cpu_and_cuda_gives_the_same(
    translator: Translator, tiny_model_folder: Path
) -> None:
    plan = make_plan(tiny_model_folder, "cpu", "cuda:0")
    expected = texts(translator.translate(TEXTS))
    assert texts(Translator.load(tiny_model_folder, plan=plan).translate(TEXTS)) == expected


def test_a_plan_for_another_model(tiny_model_folder: Path) -> None:
    plan = make_plan(tiny_model_folder, "cpu").model_copy(update={"graph": "other"})
    with pytest.raises(PlanError, match="must be for `gnmt-random"):
        Translator.load(tiny_model_folder, plan=plan)


def test_a_device_that_is_not_there(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="`cuda` does not: this machine has 0 CUDA devices"):
        Translator.load(tiny_model_folder, device="cuda")
    for name in ("nonsense", "meta"):
        with pytest.raises(InputError, match=f"must be cpu, cuda or cuda:N, but is '{name}'"):
            Translator.load(tiny_model_folder, device=name)
    with pytest.raises(PlanError, match="`cuda:3` does not"):
        Translator.load(tiny_model_folder, plan=make_plan(tiny_model_folder, "cuda:3"))


def test_bf16(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    with pytest.raises(ConfigurationError, match="no bf16 instructions"):
        Translator.load(tiny_model_folder, device="cpu", precision="bf16")
    loaded = Translator.load(tiny_model_folder, device="cpu", precision="bf16", emulate=True)
    assert all(one.text for one in loaded.translate(["A man is sleeping.", "Two dogs play."]))


def test_a_vocabulary_of_another_size(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in tiny_model_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    values = yaml.safe_load((folder / DESCRIPTION).read_text("utf-8"))
    values["vocabulary_size"] += 1
    (folder / DESCRIPTION).write_text(yaml.safe_dump(values), "utf-8")
    with pytest.raises(ModelFolderError, match=f"{VOCABULARY}` must have .* pieces, as the model"):
        Translator.load(folder)
