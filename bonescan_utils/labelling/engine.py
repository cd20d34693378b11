"""Engine: what a sentence says of metastasis: targets, and the cues around them that change it.

Of the ConText kind (Harkema et al., J Biomed Inform 2009;42:839-851): a cue acts on the targets in its direction,
within its window, up to a terminator. Where several act, they act from the inside out: first those before the
target, nearest first, then those after it, so that "no lesion suspicious for metastasis" and "cannot exclude" come
out as they are meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bonescan_utils.labelling.lexicon import Cue, Lexicon
from bonescan_utils.labelling.phrases import Phrase

Span = tuple[int, int]

LABELS = ("positive", "uncertain", "negative", "historical", "none")
"""In order of precedence: the first that a report's deciding section holds is the label of the report."""

_FORWARD_CUT = re.compile(r"[,;]\s{0,3}$")


class Hit(NamedTuple):
    """A cue found in a sentence."""

    span: Span
    cue: Cue


class Mention(NamedTuple):
    """One thing that a sentence says.

    Attributes:
        label: One of `LABELS`.
        target: Span of the target within the sentence; of the statement itself where it needs no target.
        cue: Span of the cue that decided; the target itself where it stands without one.
        trace: The cues that acted, inner first, as `phrase -> meaning`.
    """

    label: str
    target: Span
    cue: Span
    trace: tuple[str, ...]


def mentions(sentence: str, lexicon: Lexicon) -> list[Mention]:
    """Returns what a folded sentence says of metastasis, in the order of its targets."""
    lowered = sentence.lower()
    ignored = _find(sentence, lowered, lexicon.lists["ignore"])
    targets = _apart(_find(sentence, lowered, lexicon.lists["targets"]), ignored)
    if not targets:
        return _normal(sentence, lowered, lexicon, ignored)
    benign = _apart(_find(sentence, lowered, lexicon.lists["benign"]), [*ignored, *targets])
    hits = _cues(sentence, lowered, lexicon, [*ignored, *targets])
    cuts = [end for _, end in _find(sentence, lowered, lexicon.lists["terminators"])]
    return [_judge(sentence, target, targets, benign, hits, cuts) for target in targets]


def benign_span(sentence: str, lexicon: Lexicon) -> Span | None:
    """Returns where a folded sentence first speaks of something benign, or None."""
    found = _find(sentence, sentence.lower(), lexicon.lists["benign"])
    return min(found) if found else None


# ---------------------------------------------------------------------------------------------- finding
def _find(sentence: str, lowered: str, phrases: Mapping[str, Phrase]) -> list[Span]:
    """Returns the spans of all phrases, the longer first claiming their room, in order."""
    found = {
        match.span()
        for phrase in phrases.values()
        if phrase.may_match(lowered)
        for match in phrase.pattern.finditer(sentence)
    }
    return _disjoint(found)


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    """Returns spans of which none overlap: longer ones first, then earlier ones."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span)):
        if not _touches(span, kept):
            kept.append(span)
    return sorted(kept)


def _touches(span: Span, others: Iterable[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _apart(spans: list[Span], others: list[Span]) -> list[Span]:
    return [span for span in spans if not _touches(span, others)]


def _cues(sentence: str, lowered: str, lexicon: Lexicon, taken: list[Span]) -> list[Hit]:
    """Returns the cues of a sentence, none within a target, longer ones before those they hold."""
    found: dict[Span, tuple[Cue, ...]] = {}
    for ways in lexicon.cues.values():
        phrase = ways[0].phrase
        for match in phrase.pattern.finditer(sentence) if phrase.may_match(lowered) else ():
            if not _touches(match.span(), taken):
                found[match.span()] = ways  # of two phrases for the same words, the one added later
    return [Hit(span, cue) for span in _disjoint(found) for cue in found[span]]


def _normal(sentence: str, lowered: str, lexicon: Lexicon, ignored: list[Span]) -> list[Mention]:
    """Returns a statement that all is normal; one that speaks of the rest only says nothing."""
    found = _apart(_find(sentence, lowered, lexicon.lists["normal"]), ignored)
    if not found or _find(sentence, lowered, lexicon.lists["limits"]):
        return []
    return [Mention("negative", found[0], found[0], ("normal scan -> negative",))]


# ---------------------------------------------------------------------------------------------- judging
def _judge(
    sentence: str, target: Span, targets: list[Span], benign: list[Span], hits: list[Hit], cuts: list[int]
) -> Mention:
    """Lets the cues that reach a target act on it from the inside out."""
    before = [hit for hit in reversed(hits) if hit.span[1] <= target[0] and _acts_forward(sentence, hit, target, cuts)]
    after = [hit for hit in hits if hit.span[0] >= target[1]]
    after = [hit for hit in after if _acts_backward(sentence, hit, target, [*targets, *benign], cuts)]
    state, cue, trace = "", target, []
    for side, near in (("before", before), ("after", after)):
        for hit in near:
            new = _changed(state, hit.cue.means, side)
            if new != state:
                cue = cue if (state, new) == ("present", "remaining") else hit.span
                state = new
            trace.append(f"{hit.cue.phrase.text} -> {hit.cue.means}")
            if side == "before" and _opens_clause(sentence, hit):
                break
    label = {"": "positive", "present": "positive", "remaining": "positive", "purpose": "none"}.get(state, state)
    return Mention(label, target, cue, tuple(trace))


def _changed(state: str, means: str, side: str) -> str:
    """Returns what is said of a target after one more cue, farther out, has acted.

    An empty state is a target that nothing was said of: present as it stands. `remaining` is one known before that
    is there still.
    """
    if means == "negative":
        return {"historical": "historical", "remaining": "historical", "purpose": "purpose"}.get(state, "negative")
    if state == "negative" and (side == "before" or means in ("positive", "present", "purpose")):
        return state  # "suspicious uptake, no metastasis"; "no metastasis, unchanged"
    if means == "positive":
        if state == "historical" and side == "before":
            return "remaining"  # "consistent with the known metastases"
        return state if state in ("uncertain", "historical", "present", "remaining") else "positive"
    if means == "present":
        return {"uncertain": "uncertain", "historical": "remaining", "remaining": "remaining"}.get(state, "present")
    if means == "historical":
        return {"present": "remaining", "remaining": "remaining"}.get(state, "historical")
    return state if means == "purpose" and state not in ("", "positive") else means


def _acts_forward(sentence: str, hit: Hit, target: Span, cuts: list[int]) -> bool:
    reach = hit.cue.direction != "backward" and not _cut(cuts, hit.span[1], target[0])
    return reach and _words(sentence, hit.span[1], target[0]) <= hit.cue.window


def _acts_backward(sentence: str, hit: Hit, target: Span, subjects: list[Span], cuts: list[int]) -> bool:
    """A cue whose own clause has no subject speaks of the clause before: "no metastasis, but not excluded"."""
    if hit.cue.direction == "forward" or _words(sentence, target[1], hit.span[0]) > hit.cue.window:
        return False
    clause = max([cut for cut in cuts if target[1] <= cut <= hit.span[0]], default=0)
    comma = sentence.rfind(",", target[1], hit.span[0]) + 1
    own = max(clause, comma)
    return not own or not any(own <= start < hit.span[0] for start, _ in subjects)


def _cut(cuts: list[int], start: int, end: int) -> bool:
    return any(start < cut <= end for cut in cuts)


def _opens_clause(sentence: str, hit: Hit) -> bool:
    """Tells whether a comma stands right before a cue: what was said before it is another matter."""
    comma = _FORWARD_CUT.search(sentence, max(0, hit.span[0] - 5), hit.span[0])
    return comma is not None and hit.cue.means != "positive"


def _words(sentence: str, start: int, end: int) -> int:
    return len(sentence[start:end].split())
