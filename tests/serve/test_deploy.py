"""The container file names what the server needs, and leaves out what only training needs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_container_has_all_that_the_server_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=;\[ ]", text)[0] for text in project["optional-dependencies"]["serve"]}
    text = (ROOT / "serve" / "deploy" / "Containerfile").read_text(encoding="utf-8")
    assert needed - set(re.findall(r"[\w-]+", text)) == set()
