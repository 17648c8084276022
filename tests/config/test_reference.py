"""The reference of settings, for classes of every form that settings may take."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from nmt.config import Direction, Settings
from nmt.config import reference as module
from nmt.config.allowed import allowed, shown
from nmt.config.reference import COMMANDS, all_groups, reference, rows, table


class Near(Settings):
    """A union's first class."""

    kind: Literal["near"] = Field(description="Which one.")
    metres: Annotated[int, Field(ge=0, le=9)] = Field(description="How near.")


class Far(Settings):
    """Its second class."""

    kind: Literal["far"] = Field(description="Which one.")
    planet: str | None = Field(description="Where.")


class Item(Settings):
    """One of several."""

    weight: Annotated[float, Field(gt=0)] = Field(default=1.0, description="How heavy.")


class Journey(Settings):
    """All of them."""

    near: Near
    direction: Direction | None = Field(description="Which way.")
    items: dict[str, Item] = Field(description="What is taken along.")
    spare: list[Item] = Field(description="What else.")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=1)], "integer ≥ 1"),
        (Annotated[float, Field(ge=0, lt=1)] | None, "number ≥ 0, < 1 or null"),
        (str, "text"),
        (bool, "`true`, `false`"),
        (Literal["a", "b"] | None, "`a`, `b` or null"),
        (list[Annotated[int, Field(gt=2)]], "list of integer > 2"),
        (tuple[float, float], "list of number"),
        (Direction | None, "direction (`en-de`) or null"),
        (dict[str, Item], "by name: settings"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert allowed(annotation) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1e-9, "1e-09"),
        ("", '`""`'),
        ("a|b", "`a|b`"),
        ([1, 2], "`[1, 2]`"),
    ],
)
def test_values_as_in_yaml(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_row_for_every_setting_of_nested_classes_and_lists() -> None:
    values = {"near": {"kind": "near", "metres": 3}, "direction": "en-de", "spare": []}
    found = {row.path: (row.allowed, row.default) for row in rows(Journey, values)}
    assert found == {
        "near.kind": ("`near`", "`near`"),
        "near.metres": ("integer ≥ 0, ≤ 9", "3"),
        "direction": ("direction (`en-de`) or null", "`en-de`"),
        "items": ("by name: settings", ""),
        "items.NAME.weight": ("number > 0", "1"),
        "spare": ("as `items`", "`[]`"),
    }


def test_a_table_for_each_class_of_a_union(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "configuration_folder", lambda: tmp_path)
    (tmp_path / "place").mkdir()
    for name, text in {
        "near": "# At hand.\nkind: near\nmetres: 3\n",
        "mars": "kind: far\nplanet: Mars\n",
        "away": "kind: far\nplanet: null\n",
    }.items():
        (tmp_path / "place" / f"{name}.yaml").write_text(text, encoding="utf-8")
    text = module.group_section(module.Group("place", [Near, Far], ["nmt-train"]))
    assert "| `place=near` | At hand. |" in text
    near, far = text.partition("With `kind: near`:")[2].split("With `kind: far`:")
    assert "| `metres` | How near. | integer ≥ 0, ≤ 9 | 3 |" in near
    assert "| `planet` | Where. | text or null | null (`away`), `Mars` (`mars`) |" in far


def test_cells_may_have_bars() -> None:
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n|---|---|\n| x\\|y | z |"


def test_every_command_and_every_group_has_a_section() -> None:
    text = reference()
    for command in COMMANDS:
        assert f"\n## nmt-{command}\n" in text
    for name in all_groups():
        assert f"\n### {name}\n" in text


def test_what_a_command_allows_in_another_way_than_its_group() -> None:
    lines = reference().splitlines()
    section = lines[lines.index("## nmt-train") :]
    assert "`precision.name`" in next(line for line in section if "precision.name" in line)
    assert "`int8`" not in next(line for line in section if "precision.name" in line)
    assert next(line for line in section if "`precision.clip`" in line).endswith("| null |")
