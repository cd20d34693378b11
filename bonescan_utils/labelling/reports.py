"""Report labels: the label of a whole report, with the words that decided it, and tables of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bonescan_utils.files import safe_text
from bonescan_utils.labelling.engine import LABELS, Mention, benign_span, mentions
from bonescan_utils.labelling.folding import Folded, fold
from bonescan_utils.labelling.lexicon import SECTIONS, Lexicon, LexiconError, load_lexicon
from bonescan_utils.labelling.sections import Section, split_sections
from bonescan_utils.labelling.sentences import MAX_SENTENCE, split_sentences

LABEL_COLUMNS = ("label", "cue", "span_start", "span_end", "sentence")


class LabelError(ValueError):
    """Reports, labels or readings that cannot be used; the text says where and what to do."""


@dataclass(frozen=True)
class Said:
    """A mention with its place in the report.

    Attributes:
        section: Kind of the section it stands in.
        sentence: Span of the sentence in the folded text.
        mention: What is said; its spans are within the sentence.
    """

    section: str
    sentence: tuple[int, int]
    mention: Mention


@dataclass(frozen=True)
class ReportLabel:
    """The label of a report.

    Attributes:
        label: One of `engine.LABELS`.
        cue: The words that decided, as they stand in the report; '' if nothing did.
        span_start: Where the cue begins in the report, in characters from 0.
        span_end: Where it ends: `text[span_start:span_end] == cue`.
        sentence: The sentence that decided, on one line; '' if none did.
        section: Kind of section it stands in; '' if none.
        said: Everything the report says of metastasis.
    """

    label: str
    cue: str = ""
    span_start: int = 0
    span_end: int = 0
    sentence: str = ""
    section: str = ""
    said: tuple[Said, ...] = ()


def label_report(text: str, lexicon: Lexicon) -> ReportLabel:
    """Labels one report.

    The impression decides; where it says nothing of metastasis, the findings; where they do not either, the history
    decides whether metastasis was known before. Within a section the order of `engine.LABELS` holds.
    """
    folded = fold(text)
    sections = split_sections(folded.text, lexicon)
    said = tuple(_said(folded.text, sections, lexicon))
    for kind in SECTIONS:
        labels = LABELS[3:4] if kind == "history" else LABELS[:4]
        here = [one for one in said if one.section == kind and one.mention.label in labels]
        if here:
            first = min(here, key=lambda one: labels.index(one.mention.label))
            return _told(text, folded, first, said)
    return _nothing_said(text, folded, sections, lexicon, said)


def label_table(reports: pd.DataFrame, lexicon: Lexicon, *, text_column: str = "text") -> pd.DataFrame:
    """Labels a table of reports.

    Args:
        reports: One row per report, `text_column` its text.
        lexicon: From `load_lexicon`.
        text_column: The column with the text.

    Returns:
        The rows in their order: the columns of `reports` without the text (one that is called like a column of
        the result is kept as `input_<name>`), then `LABEL_COLUMNS`.

    Raises:
        LabelError: There is no such column, or a renamed one is there already, or no report.
    """
    if text_column not in reports.columns:
        found = ", ".join(safe_text(name, limit=40) for name in reports.columns)
        raise LabelError(f"column {safe_text(text_column, limit=40)!r} is not in the reports; they have: {found}")
    if reports.empty:
        raise LabelError("the reports are a header and no rows; expected at least one report")
    kept = reports.drop(columns=text_column).rename(columns={name: f"input_{name}" for name in LABEL_COLUMNS})
    if kept.columns.has_duplicates:
        raise LabelError(f"columns named input_... and one of {', '.join(LABEL_COLUMNS)}: rename one of each")
    labels = [label_report(text, lexicon) for text in reports[text_column]]
    rows = [[getattr(label, name) for name in LABEL_COLUMNS] for label in labels]
    told = pd.DataFrame(rows, columns=pd.Index(LABEL_COLUMNS), index=reports.index)
    told["cue"] = told["cue"].map(safe_text)
    return pd.concat([kept, told.astype({"span_start": "int64", "span_end": "int64"})], axis=1)


def explain(text: str, lexicon: Lexicon) -> list[str]:
    """Says in lines how a report was labelled, in words of the lexicon only: nothing of the report is repeated."""
    label = label_report(text, lexicon)
    lines = [f"{label.label}: decided by the {label.section or 'absence of any statement'}"]
    for one in label.said:
        steps = "; ".join(one.mention.trace) or "no cue"
        lines.append(f"  {one.section}, characters {one.sentence[0]}-{one.sentence[1]}: {one.mention.label} ({steps})")
    if label.label == "none" and label.cue:
        lines.append(f"  {label.section}, characters {label.span_start}-{label.span_end}: none (a benign finding)")
    return lines


# ---------------------------------------------------------------------------------------------- inside
def _said(text: str, sections: list[Section], lexicon: Lexicon) -> Iterator[Said]:
    """Gives everything that is said, section by section; what a history states is past, what it asks is nothing."""
    for section in sections:
        for start, end in split_sentences(text, section.start, section.end):
            for mention in mentions(text[start:end], lexicon):
                past = {"positive": "historical"}.get(mention.label, mention.label)
                label = past if section.kind == "history" else mention.label
                yield Said(section.kind, (start, end), mention._replace(label=label))


def _told(text: str, folded: Folded, one: Said, said: tuple[Said, ...]) -> ReportLabel:
    """Returns the label with the cue and the sentence as they stand in the report."""
    begin = one.sentence[0]
    start, end = folded.raw_span(begin + one.mention.cue[0], begin + one.mention.cue[1])
    first, last = folded.raw_span(*one.sentence)
    sentence = safe_text(" ".join(text[first:last].split()), limit=MAX_SENTENCE)
    return ReportLabel(one.mention.label, text[start:end], start, end, sentence, one.section, said)


def _nothing_said(
    text: str, folded: Folded, sections: list[Section], lexicon: Lexicon, said: tuple[Said, ...]
) -> ReportLabel:
    """Returns `none`; where the report names a benign finding, that is its cue."""
    for kind in SECTIONS[:2]:
        for section in sections:
            for start, end in split_sentences(folded.text, section.start, section.end) if section.kind == kind else ():
                span = benign_span(folded.text[start:end], lexicon)
                if span:
                    mention = Mention("none", span, span, ())
                    return _told(text, folded, Said(kind, (start, end), mention), said)
    return ReportLabel("none", said=said)


__all__ = [
    "LABEL_COLUMNS", "LabelError", "LexiconError", "ReportLabel", "explain", "label_report", "label_table",
    "load_lexicon",
]  # fmt: skip
