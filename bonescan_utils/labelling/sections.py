"""Sections: what part of a report a passage stands in: impression, findings, history."""

from __future__ import annotations

import re
from typing import NamedTuple

from bonescan_utils.labelling.lexicon import Lexicon


class Section(NamedTuple):
    """A part of a report.

    Attributes:
        kind: `impression`, `findings` (also text under no heading) or `history` (also indication, comparison).
        start: Where it begins in the folded text, after its heading.
        end: Where it ends.
    """

    kind: str
    start: int
    end: int


def split_sections(text: str, lexicon: Lexicon) -> list[Section]:
    """Splits folded text at the headings of the lexicon; together the sections and headings are the whole text.

    A history ends with its paragraph: what follows a blank line is a finding, even without a heading.
    """
    sections: list[Section] = []
    kind, start = "findings", 0
    for match in lexicon.headings.finditer(text):
        sections += _closed(kind, start, match.start(), text)
        kind, start = lexicon.section_of(match.group(1) or match.group(2)), match.end()
    return sections + _closed(kind, start, len(text), text)


def _closed(kind: str, start: int, end: int, text: str) -> list[Section]:
    """Returns the section up to the next heading, a history cut at its first blank line."""
    if not text[start:end].strip():
        return []
    first = end - len(text[start:end].lstrip())
    blank = re.compile(r"\n[ \t]*\n").search(text, first, end) if kind == "history" else None
    if blank and text[blank.end() : end].strip():
        return [Section(kind, start, blank.end()), Section("findings", blank.end(), end)]
    return [Section(kind, start, end)]
