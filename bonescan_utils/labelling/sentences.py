"""Sentences of English and Korean reports: full stops, line ends, lists; not abbreviations, not wrapped lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SENTENCE = 1000
"""Longer runs without an end are cut at a space: the cost of a report stays in proportion to its length."""

_ABBREVIATIONS = frozenset(
    "dr mr mrs ms prof vs no fig approx ca cf resp incl excl e.g i.e st lt rt sup inf ant post lat med pt dx hx d/t c/w"
    " r/o f/u w/u mets".split()
) - {"mets"}
_STOP = re.compile(r"[.!?。]+(?=[\s\"')\]]|$)|(?<=[가-힣])[.!?](?=[가-힣A-Z])|\n|(?<=\S)[ \t]{1,5}(?=\d{1,2}[.)][ \t])")
_LIST_MARK = re.compile(r"\s*(?:[-*•·◆■▶#>]|\(?\d{1,2}[.)]|[A-Za-z가-힣][.)](?=\s))\s*")
_WORD_BEFORE = re.compile(r"[\w/.]{1,12}$")
_UNFINISHED = re.compile(r"(?:[의를을은는과와로된한할및]|또는|,)\s*$")
_SENTENCE_ENDS = (".", "!", "?", "。", ":", ";")
_WRAPPED_LINE = 55
"""A line of so many characters without an end was probably broken by the width of a window."""


def split_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Gives the spans of the sentences of `text[start:end]`, in order, without the space around them."""
    begin = start
    for match in _STOP.finditer(text, start, end):
        if match.start() < begin or not _ends_sentence(text, begin, match, end):
            continue
        yield from _trimmed(text, begin, match.end())
        begin = match.end()
    yield from _trimmed(text, begin, end)


def _ends_sentence(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    """Tells whether a possible end is one."""
    mark = match.group()
    if mark == "\n":
        return _ends_line(text, begin, match.start(), match.end(), end)
    if not mark.startswith("."):
        return True
    if _LIST_MARK.fullmatch(text, begin, match.end()):
        return False  # the number of an item of a list
    word = _WORD_BEFORE.search(text, max(begin, match.start() - 12), match.start())
    before = word.group().lower() if word else ""
    return before not in _ABBREVIATIONS and not re.fullmatch(r"[A-Za-z]", before)


def _ends_line(text: str, begin: int, at: int, after: int, end: int) -> bool:
    """Tells whether a line end also ends the sentence, or was put there by the width of a window."""
    line = text[max(begin, at - 200) : at].rsplit("\n", 1)[-1].rstrip()
    following = text[after : min(end, after + 40)]
    if not line or not following.strip() or following[0] == "\n" or following.lstrip(" \t")[:1] == "\n":
        return True
    if line.endswith(_SENTENCE_ENDS) or _LIST_MARK.match(following):
        return True
    if _UNFINISHED.search(line) or re.match(r"\s*[a-z]", following):
        return False
    return len(line) < _WRAPPED_LINE


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Gives the span without space around it, in pieces of at most `MAX_SENTENCE`."""
    while start < end:
        cut = end
        if end - start > MAX_SENTENCE:
            space = text.rfind(" ", start + MAX_SENTENCE // 2, start + MAX_SENTENCE)
            cut = space if space > 0 else start + MAX_SENTENCE
        piece = text[start:cut]
        left, right = len(piece) - len(piece.lstrip()), len(piece.rstrip())
        if left < right:
            yield start + left, start + right
        start = cut
