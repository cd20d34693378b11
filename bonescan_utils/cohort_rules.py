"""Cohort rules: what may be asked of a scan to be in a study, as a list of typed rules.

A rule is a word with its argument, such as `adult:18`, so that a list of them stands in a notebook's parameters. What
is unknown does not meet a rule. `cohort_build` applies them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from bonescan_utils.ingest.vocabulary import BONE_TRACERS
from bonescan_utils.partitions import patient_key

DEFAULT_RULES = (
    "labelled", "cancer_patient", "adult:18", "bone_tracer", "both_views", "reference_window:90", "quality:500000",
    "one_scan_per_patient:first",
)  # fmt: skip
"""A usual study of a hospital's own scans."""


class CohortError(ValueError):
    """A rule or a sample that cannot be applied; the text says what was expected."""


@dataclass(frozen=True)
class RuleKind:
    """A kind of rule.

    Attributes:
        reasons: (rows, argument) -> for each row why it is taken out, '' to keep it.
        columns: Columns that it needs; of a tuple one is enough.
        step: Text of its box, with `{}` for the argument.
        default: Argument if none is given, '' if it takes none.
        number: The argument is a whole number.
    """

    reasons: Callable[[pd.DataFrame, str], pd.Series]
    columns: tuple[str | tuple[str, ...], ...]
    step: str
    default: str = ""
    number: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule of a cohort: its kind by name, and its argument as text."""

    name: str
    argument: str = ""

    @property
    def step(self) -> str:
        """Text of its box in the flow."""
        shown = f"{int(self.argument):,}" if RULES[self.name].number else self.argument
        return RULES[self.name].step.format(shown)


def _labelled(df: pd.DataFrame, argument: str) -> pd.Series:
    return df["metastasis"].isna().map({True: "no label", False: ""})


def _cancer(df: pd.DataFrame, argument: str) -> pd.Series:
    known = {"": "primary cancer unknown", "none": "no cancer"}
    return df["primary_cancer"].map(lambda cell: known.get(str(cell).strip().casefold(), ""))


def _adult(df: pd.DataFrame, argument: str) -> pd.Series:
    age = pd.to_numeric(df["age"], errors="coerce")
    return _worded(age.isna(), "age unknown", age < int(argument), f"below {argument} years")


def _tracer(df: pd.DataFrame, argument: str) -> pd.Series:
    tracer = df["tracer"].fillna("")
    return _worded(tracer == "", "tracer unknown", ~tracer.isin(BONE_TRACERS), "another tracer")


def _both_views(df: pd.DataFrame, argument: str) -> pd.Series:
    return _worded(df["posterior"] == "", "no posterior view", df["anterior"] == "", "no anterior view")


def _window(df: pd.DataFrame, argument: str) -> pd.Series:
    name = "reference_days" if "reference_days" in df else "report_days"
    days = pd.to_numeric(df[name], errors="coerce").abs()
    text = f"reference standard more than {argument} days away"
    return _worded(days.isna(), "date of reference standard unknown", days > int(argument), text)


def _quality(df: pd.DataFrame, argument: str) -> pd.Series:
    """Counts of every view that is there, and no view that seems mirrored."""
    counts = [pd.to_numeric(df[name], errors="coerce") for name in ("counts_anterior", "counts_posterior")]
    least = pd.concat(counts, axis=1).min(axis=1)
    few = _worded(
        least.isna(), "counts unknown", least < int(argument), f"fewer than {int(argument):,} counts in a view"
    )
    mirrored = df["posterior_mirrored"] == "yes" if "posterior_mirrored" in df else pd.Series(False, index=df.index)
    return few.where((few != "") | ~mirrored, "posterior view mirrored")


def _one_scan(df: pd.DataFrame, argument: str) -> pd.Series:
    """The first or the last scan of each patient by day; an unknown day comes after all, then the id decides."""
    day = pd.to_numeric(df["study_day"], errors="coerce")
    order = day if argument == "first" else -day
    sorted_ids = df.assign(_key=df["patient_id"].map(patient_key), _order=order, _id=df["scan_id"].map(str))
    sorted_ids = sorted_ids.sort_values(["_order", "_id"], na_position="last")
    kept = ~sorted_ids["_key"].duplicated()
    return kept.reindex(df.index).map({True: "", False: "another scan of the patient"})


def _worded(first: pd.Series, first_text: str, second: pd.Series, second_text: str) -> pd.Series:
    """Returns the first text where `first` holds, else the second where `second` does, else ''."""
    reasons = pd.Series("", index=first.index, dtype="str").mask(second.fillna(False).astype(bool), second_text)
    return reasons.mask(first.astype(bool), first_text)


RULES: dict[str, RuleKind] = {
    "labelled": RuleKind(_labelled, ("metastasis",), "With a label"),
    "cancer_patient": RuleKind(_cancer, ("primary_cancer",), "Of cancer patients"),
    "adult": RuleKind(_adult, ("age",), "Of patients of {} years or more", "18", number=True),
    "bone_tracer": RuleKind(_tracer, ("tracer",), "With a bone tracer"),
    "both_views": RuleKind(_both_views, ("anterior", "posterior"), "With both views"),
    "reference_window": RuleKind(
        _window, (("reference_days", "report_days"),), "With the reference standard within {} days", "90", number=True
    ),
    "quality": RuleKind(
        _quality, ("counts_anterior", "counts_posterior"), "With {} counts or more in each view", "500000", number=True
    ),
    "one_scan_per_patient": RuleKind(
        _one_scan, ("patient_id", "study_day"), "The {} scan of each patient", "first", choices=("first", "last")
    ),
}
"""Name -> kind. A rule of a list may stand there once."""


def parse_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    """Reads rules such as `adult:18`.

    Raises:
        CohortError: A rule is unknown, stands twice, or has an argument of another type.
    """
    rules = []
    for text in texts:
        name, _, argument = str(text).strip().partition(":")
        kind = RULES.get(name)
        if kind is None:
            raise CohortError(f"rule {name!r} is unknown; known are {', '.join(RULES)}")
        argument = argument.strip() or kind.default
        if kind.number and not argument.isdecimal():
            raise CohortError(f"rule {text!r}: expected a whole number after the colon")
        if kind.choices and argument not in kind.choices:
            raise CohortError(f"rule {text!r}: expected {' or '.join(kind.choices)} after the colon")
        if not kind.default and argument:
            raise CohortError(f"rule {text!r}: {name} takes no argument")
        rules.append(Rule(name, argument))
    twice = {rule.name for rule in rules if [other.name for other in rules].count(rule.name) > 1}
    if twice:
        raise CohortError(f"rule {sorted(twice)[0]!r} stands twice")
    return tuple(rules)
