"""Phrases: the small language in which a lexicon is written, turned into patterns of bounded cost.

A phrase is words. `word*` is the word with any ending, `a|b` is either, `...` stands for up to three other words, `^`
before the first word lets the phrase begin only where a word begins. Letters match in either case; words of the
Latin alphabet match whole, Hangul also inside a word (particles follow without a space) and with or without the
spaces between. Nothing else is special, so that no phrase can be slow or mean something unforeseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

MAX_PHRASE = 120
_GAP = r"(?:[^\s,;:.]{1,40}[\s,]{1,5}){0,3}?"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_ENDS_HANGUL, _STARTS_HANGUL = re.compile(f"[{_HANGUL}][*]?$"), re.compile(f"[{_HANGUL}]")


@dataclass(frozen=True)
class Phrase:
    """A phrase of a lexicon.

    Attributes:
        text: As it was written.
        pattern: What it matches.
        keys: Pieces in lower case of which one is in every text it matches: a quick test before the pattern.
    """

    text: str
    pattern: re.Pattern[str]
    keys: tuple[str, ...]

    def may_match(self, lowered: str) -> bool:
        """Tells whether the pattern is worth trying on a text in lower case."""
        return any(key in lowered for key in self.keys)


def compile_phrase(text: str) -> Phrase:
    """Turns a phrase into a pattern.

    Raises:
        ValueError: It is empty, too long, without a word, or begins or ends with `...`.
    """
    words = text.split()
    if not words or len(text) > MAX_PHRASE or not text.isprintable():
        raise ValueError(f"expected 1 to {MAX_PHRASE} printable characters")
    if "..." in (words[0], words[-1]) or not re.sub(r"[*|^.\s]", "", text):
        raise ValueError("expected words at both ends; `...` stands between words only")
    anchored, words[0] = words[0].startswith("^") and len(words[0]) > 1, words[0].removeprefix("^") or words[0]
    parts = [_word(words[0])]
    for before, word in pairwise(words):
        if word == "...":
            parts.append(r"[\s,]{1,5}" + _GAP)
        else:
            parts.append(("" if before == "..." else _space(before, word)) + _word(word))
    latin = r"[A-Za-z0-9]"  # a Korean particle may follow a Latin word, so only Latin letters end one
    left = r"(?<!\w)" if anchored else rf"(?<!{latin})" if re.match(latin, words[0]) else ""
    right = rf"(?!{latin})" if re.search(rf"{latin}$", words[-1]) else ""
    return Phrase(text, re.compile(left + "".join(parts) + right, re.IGNORECASE), _keys(words))


def _word(word: str) -> str:
    ways = [re.escape(way.removesuffix("*")) + (r"\w{0,20}" if way.endswith("*") else "") for way in word.split("|")]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})"


def _space(before: str, word: str) -> str:
    """Between Hangul words a space may be left out; between Latin ones a hyphen may stand for it."""
    return r"\s{0,5}" if _ENDS_HANGUL.search(before) or _STARTS_HANGUL.match(word) else r"(?:\s{1,5}|-)"


def _keys(words: list[str]) -> tuple[str, ...]:
    """The alternatives of the word whose shortest alternative is longest."""
    choices = [[way.removesuffix("*").lower() for way in word.split("|")] for word in words if word != "..."]
    return tuple(max(choices, key=lambda ways: min(map(len, ways))))
