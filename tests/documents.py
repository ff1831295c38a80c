"""The project's documents, for the tests that hold them to what they say: their code blocks, headings and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "migrations").glob("*.md")])

_FENCE = re.compile(r"(?:^<!-- (\S+) -->\n)?^(```+)(\S*)[^\n]*\n(.*?)^\2[ ]*$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^|\n\n)((?:    [^\n]*\n)+)")


@dataclass(frozen=True)
class Block:
    """A block of code: its language (none of an indented one), the name in a comment above it, its text."""

    language: str
    name: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Every block of code of a document."""
    for name, _, language, code in _FENCE.findall(text):
        yield Block(language, name, code)
    for code in _INDENTED.findall(_FENCE.sub("", text)):
        yield Block("", "", re.sub(r"^    ", "", code, flags=re.MULTILINE))


def shell_block(path: Path, name: str) -> str:
    """The text of the one block under the comment `<!-- NAME -->`."""
    (found,) = [block.text for block in blocks(path.read_text(encoding="utf-8")) if block.name == name]
    return found


def inline_code(text: str) -> list[str]:
    """What stands between backticks inside sentences and tables."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """The targets of a document's links."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The names by which a document's headings are linked, made as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", text), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}
