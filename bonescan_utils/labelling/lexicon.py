"""Lexicon: the phrases of the rules as data: read from YAML, checked, extended by a hospital's own file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bonescan_utils.files import safe_text
from bonescan_utils.gate import read_small
from bonescan_utils.labelling.phrases import Phrase, compile_phrase
from bonescan_utils.scan import ScanError

LANGUAGES = ("en", "ko")
MEANINGS = ("positive", "negative", "uncertain", "historical", "present", "purpose")
DIRECTIONS = ("forward", "backward", "both")
LISTS = ("targets", "ignore", "benign", "normal", "limits", "terminators")
SECTIONS = ("impression", "findings", "history")
MAX_WINDOW = 30
MAX_BYTES = 1 << 20
ASSETS = Path(__file__).parents[1] / "assets"


class LexiconError(ValueError):
    """A lexicon file that cannot be used; the text names the file, the place in it and what was expected."""


class Cue(NamedTuple):
    """A phrase that changes what is said of a target.

    Attributes:
        phrase: The phrase.
        means: One of `MEANINGS`.
        direction: `forward`: targets after it; `backward`: targets before it; `both`.
        window: Words that may lie between it and a target.
    """

    phrase: Phrase
    means: str
    direction: str
    window: int


@dataclass(frozen=True)
class Lexicon:
    """Phrases of one or more files, later files over earlier ones.

    Attributes:
        lists: For each of `LISTS`, its phrases.
        cues: phrase as written -> its cues; one phrase may mean one thing forward, another backward.
        sections: For each of `SECTIONS`, its headings in lower case.
    """

    lists: dict[str, dict[str, Phrase]]
    cues: dict[str, tuple[Cue, ...]]
    sections: dict[str, tuple[str, ...]]

    @cached_property
    def sha256(self) -> str:
        """Names the content: two lexicons with one hash label alike."""
        cues = sorted((text, *cue[1:]) for text, ways in self.cues.items() for cue in ways)
        content = [{name: sorted(phrases) for name, phrases in self.lists.items()}, cues, self.sections]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    @cached_property
    def headings(self) -> re.Pattern[str]:
        """Matches any heading where a line begins, or after the end of a sentence if a colon follows."""
        names = sorted({name for group in self.sections.values() for name in group}, key=len, reverse=True)
        either = "|".join(r"[ ]{0,3}".join(map(re.escape, name.split())) for name in names)
        line = rf"(?:^|(?<=\n))[\s\W\d]{{0,8}}?({either})[ ]{{0,3}}(?:[\]>)}}】》:：]{{1,3}}|[-–](?=\s)|(?=\n|$))"
        inline = rf"(?<=[.!?;)\]])[ \t]{{1,5}}({either})[ ]{{0,3}}:"
        return re.compile(f"{line}|{inline}", re.IGNORECASE)

    def section_of(self, heading: str) -> str:
        """Returns the kind of section that a heading opens."""
        name = " ".join(heading.lower().split())
        squeezed = name.replace(" ", "")
        kinds = [kind for kind, names in self.sections.items() if squeezed in {n.replace(" ", "") for n in names}]
        return kinds[0] if kinds else "findings"


def load_lexicon(language: str = "auto", *, extra: Sequence[str | Path] = ()) -> Lexicon:
    """Reads the lexicon of a language, and a hospital's own files over it.

    Args:
        language: `en`; `ko` or `auto`: Korean and English together, since Korean reports are written in both.
        extra: YAML files of the same form; a phrase that is there already gets the new meaning.

    Raises:
        LexiconError: The language is unknown, or a file breaks the form; all its faults are told.
    """
    if language not in (*LANGUAGES, "auto"):
        raise LexiconError(f"language {safe_text(language)!r}: expected one of {', '.join(LANGUAGES)}, auto")
    names = ["en"] if language == "en" else ["en", "ko"]
    lists: dict[str, dict[str, Phrase]] = {name: {} for name in LISTS}
    cues: dict[str, tuple[Cue, ...]] = {}
    sections: dict[str, tuple[str, ...]] = dict.fromkeys(SECTIONS, ())
    for path in [*(ASSETS / f"lexicon_{name}.yaml" for name in names), *map(Path, extra)]:
        _merge(_read(path), lists, cues, sections)
    return Lexicon(lists, cues, sections)


def _merge(
    content: dict[str, Any], lists: dict[str, dict[str, Phrase]], cues: dict[str, tuple[Cue, ...]],
    sections: dict[str, tuple[str, ...]],
) -> None:  # fmt: skip
    """Adds one checked file; what it lists under `remove` is taken out first."""
    for text in content.get("remove") or []:
        cues.pop(text, None)
        for phrases in lists.values():
            phrases.pop(text, None)
    for name in LISTS:
        lists[name].update({text: compile_phrase(text) for text in content.get(name) or []})
    new: dict[str, tuple[Cue, ...]] = {}
    for group in content.get("cues") or []:
        for text in group["phrases"]:
            cue = Cue(compile_phrase(text), group["means"], group["direction"], group["window"])
            new[text] = (*new.get(text, ()), cue)
    cues.update(new)
    for kind, names in (content.get("sections") or {}).items():
        sections[kind] = (*sections[kind], *(" ".join(name.lower().split()) for name in names))


def _read(path: Path) -> dict[str, Any]:
    """Reads and checks one file."""
    try:
        data = read_small(path, most=MAX_BYTES)
    except (OSError, ScanError) as error:
        why = error.reason if isinstance(error, ScanError) else error.strerror
        expected = f"expected a YAML lexicon of at most {MAX_BYTES:,} bytes"
        raise LexiconError(f"{path}: cannot be read ({why}); {expected}") from None
    try:
        content = yaml.load(data.decode("utf-8-sig"), Loader=_PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = safe_text(getattr(error, "problem", None) or error)
        raise LexiconError(f"{path}{where}: not YAML in UTF-8 without aliases ({what})") from None
    faults = list(_faults(content))
    if faults:
        shown = "\n".join(f"{path}: {fault}" for fault in faults[:20])
        raise LexiconError(shown + (f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""))
    return content if isinstance(content, dict) else {}


class _PlainLoader(yaml.SafeLoader):
    """Reads plain data; refuses aliases, by which a small file can grow without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes a node that is no alias."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "an alias (*)", self.peek_event().start_mark)
        return super().compose_node(parent, index)


# ---------------------------------------------------------------------------------------------- the form
def _faults(content: object) -> Iterator[str]:
    """Gives everything that is wrong with a file's content."""
    if not isinstance(content, dict):
        yield f"found {type(content).__name__}; expected a mapping with {', '.join((*LISTS, 'cues', 'sections'))}"
        return
    for name in content:
        if name not in (*LISTS, "cues", "sections", "remove"):
            known = ", ".join((*LISTS, "cues", "sections", "remove"))
            yield f"key {safe_text(name, limit=40)!r}: expected one of {known}"
    for name in (*LISTS, "remove"):
        yield from _phrase_faults(name, content.get(name))
    yield from _cue_faults(content.get("cues"))
    yield from _section_faults(content.get("sections"))


def _phrase_faults(where: str, phrases: object) -> Iterator[str]:
    if phrases is None:
        return
    if not isinstance(phrases, list):
        yield f"{where}: found {type(phrases).__name__}; expected a list of phrases"
        return
    for at, text in enumerate(phrases, 1):
        if not isinstance(text, str):
            yield f"{where}, item {at}: found {safe_text(text, limit=40)!r}; expected text; put it in quotes"
            continue
        try:
            compile_phrase(text)
        except ValueError as error:
            yield f"{where}, item {at}: found {safe_text(text, limit=40)!r}; {error}"


def _cue_faults(groups: object) -> Iterator[str]:
    if groups is None:
        return
    if not isinstance(groups, list):
        yield f"cues: found {type(groups).__name__}; expected a list of groups"
        return
    for at, group in enumerate(groups, 1):
        where = f"cues, group {at}"
        if not isinstance(group, dict) or set(group) != {"means", "direction", "window", "phrases"}:
            yield f"{where}: expected means, direction, window and phrases, and nothing else"
            continue
        for key, known in (("means", MEANINGS), ("direction", DIRECTIONS)):
            if group[key] not in known:
                yield f"{where}, {key}: found {safe_text(group[key], limit=40)!r}; expected one of {', '.join(known)}"
        if type(group["window"]) is not int or not 0 <= group["window"] <= MAX_WINDOW:
            yield f"{where}, window: found {safe_text(group['window'], limit=40)!r}; expected 0 to {MAX_WINDOW} words"
        if not group["phrases"]:
            yield f"{where}, phrases: expected at least one"
        yield from _phrase_faults(f"{where}, phrases", group["phrases"])


def _section_faults(sections: object) -> Iterator[str]:
    if sections is None:
        return
    if not isinstance(sections, dict) or set(sections) - set(SECTIONS):
        yield f"sections: expected only {', '.join(SECTIONS)}, each with a list of headings"
        return
    for kind, names in sections.items():
        good = isinstance(names, list) and all(isinstance(name, str) and 0 < len(name.strip()) <= 60 for name in names)
        if not good:
            yield f"sections, {kind}: expected a list of headings of 1 to 60 characters"
