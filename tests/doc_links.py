"""Links of the documentation: every relative one must lead to a file, and to a heading in it.

`python -m tests.doc_links` prints those that are broken; `make check` runs it. Nothing is fetched.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"`[^`]*`")
HEADING = re.compile(r"#{1,6} +(.*)")
EXTERNAL = ("http://", "https://", "mailto:")


def pages(root: Path = ROOT) -> list[Path]:
    """All Markdown files that people read."""
    names = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md")
    return [root / name for name in names] + sorted((root / "docs").glob("*.md"))


def lines_outside_code(page: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without code blocks."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        marker = re.match(r" *(```+|~~~+)", line)
        if marker and not fence:
            fence = marker[1]
        elif fence:
            if marker and marker[1].startswith(fence):
                fence = ""
        else:
            yield number, line


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub and MyST give to a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for _, line in lines_outside_code(page):
        heading = HEADING.fullmatch(line)
        if heading:
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").strip()
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
            seen[slug] += 1
    return frozenset(found)


def broken_links(page: Path) -> list[str]:
    """A sentence for each relative link that leads nowhere."""
    found = []
    for number, line in lines_outside_code(page):
        for match in LINK.finditer(CODE.sub("", line)):
            target = match[1] or match[2]
            if target.startswith(EXTERNAL):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                found.append(f"{page}:{number}: `{target}` must be a file, but there is none.")
            elif anchor and anchor not in anchors(file):
                found.append(f"{page}:{number}: `{target}` must be a heading, but there is none.")
    return found


def main() -> int:
    """Print the broken links; the number of them is the exit status."""
    found = [sentence for page in pages() for sentence in broken_links(page)]
    for sentence in found:
        print(sentence, file=sys.stderr)
    return len(found)


if __name__ == "__main__":
    sys.exit(min(1, main()))
