"""Folding: hostile text to plain text of the same meaning, with the way back to every character.

Rules are matched on folded text: composed Unicode (NFKC), no control or zero-width characters, sizes and dates
blanked. Spans are told in characters of the text as it came.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_CLUSTER = re.compile(
    "\r\n|[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?|[^\u0300-\u036f][\u0300-\u036f]{1,8}|.", re.DOTALL
)
_ODD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_LINE_ENDS = frozenset("\n\r\v\f\x85\u2028\u2029")

_MEASURE = re.compile(
    r"""
      (?<![\w.]) \d{1,4}(?:[.,]\d{1,3})? (?:\ ?[x*]\ ?\d{1,4}(?:[.,]\d{1,3})?){0,2} \ ?(?:mm|cm)\b   # 2.5 x 1.8 cm
    | (?<![\w.]) \d{1,4}[./-]\ ?\d{1,2}[./-]\ ?\d{1,4} (?!\w)                            # 2021-03-05, 12/03/2021
    | (?<![\w./]) (?:\d{1,2}[/.-](?:19|20)\d\d | (?:19|20)\d\d[/.-]\d{1,2}) (?!\w)       # 03/2021, 2019.08
    | (?<!\w) \d{2,4}년 (?:\ ?\d{1,2}월)? (?:\ ?\d{1,2}일)?                               # 2019년 5월
    | (?<![\w.]) \d{1,4}[.,]\d{1,3} (?![\w.])                                            # 1.5
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Folded:
    """Folded text.

    Attributes:
        text: What rules are matched on.
        starts: Where each of its characters begins in the text as it came; None: at its own place.
        ends: Where it ends there.
    """

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """Returns the span of the text as it came that `[start, end)` was made from; an empty one is (0, 0)."""
        if end <= start:
            return 0, 0
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """Returns the text folded; sizes, dates and decimals are blanked, so that they neither split nor count."""
    if not _ODD.search(text) and unicodedata.is_normalized("NFKC", text):
        return Folded(_without_measures(text))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _CLUSTER.finditer(text):
        plain = _plain(match.group())
        pieces.append(plain)
        starts += [match.start()] * len(plain)
        ends += [match.end()] * len(plain)
    return Folded(_without_measures("".join(pieces)), starts, ends)


def _plain(cluster: str) -> str:
    """Returns one cluster of characters composed; a control becomes a space, a format character nothing."""
    if cluster == "\r\n" or cluster in _LINE_ENDS:
        return "\n"
    category = unicodedata.category(cluster[0])
    if category == "Cf":
        return ""
    return " " if category == "Cc" else unicodedata.normalize("NFKC", cluster)


def _without_measures(text: str) -> str:
    return _MEASURE.sub(lambda match: " " * len(match.group()), text)
