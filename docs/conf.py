"""Sphinx's settings for `make docs`: README.md is the home page, docs/ holds the others."""

from pathlib import Path

import sphinx.application

ROOT = Path(__file__).parents[1]

project = "pipeline-nmt"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md", "docs/*.md"]
exclude_patterns = ["**/.*", ".*", "build", "dist", "runs"]
highlight_language = "text"
myst_heading_anchors = 3  # links to headings are as on GitHub
html_theme = "furo"
html_title = "pipeline-nmt"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_extra_path = [str(ROOT / "docs" / "site")]  # index.html, which leads to README.html
html_show_sphinx = False
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_permalinks_icon = "#"

# Furo's sidebar shows the table of contents, which GitHub would show as code: it is added here.
CONTENTS = """

```{toctree}
:hidden:
:caption: Use

docs/training
docs/search
docs/pipelines
docs/evaluation
docs/translation
docs/serving
docs/machines
docs/gpus
data/README
```

```{toctree}
:hidden:
:caption: Reference

docs/settings
docs/performance
CHANGELOG
```

```{toctree}
:hidden:
:caption: Contribute

CONTRIBUTING
docs/architecture
```
"""


def _add_contents(_: sphinx.application.Sphinx, name: str, source: list[str]) -> None:
    if name == root_doc:
        source[0] += CONTENTS


def setup(app: sphinx.application.Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_contents)
