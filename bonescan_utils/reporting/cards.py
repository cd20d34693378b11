"""Cards: the model card and the data card of a run, from the facts that the report is written from."""

from __future__ import annotations

import html

import pandas as pd

from bonescan_utils.reporting.limits import limitations
from bonescan_utils.reporting.methods import methods
from bonescan_utils.reporting.records import RunRecord
from bonescan_utils.style import interval_text, metric_row
from bonescan_utils.tables import partition_sizes
from bonescan_utils.wording import arm_text, metric_text, weights_text

Card = list[tuple[str, str]]
"""(heading, text), in order."""
SHOWN = ("AUROC", "sensitivity", "specificity", "PPV", "NPV")
AUTHOR = "To be written by the author."


def headline(run: RunRecord, shown: tuple[str, ...] = SHOWN) -> dict[str, str]:
    """Returns metric -> estimate with its interval, of the study's arm on test scans; empty before there are any."""
    for name in (f"metrics_{run.arm}", "metrics"):
        if run.has(name):
            rows = run.table(name)
            there = set(rows.loc[rows["arm"] == run.arm, "metric"])
            return {metric: interval_text(metric_row(rows, run.arm, metric)) for metric in shown if metric in there}
    return {}


def model_card(run: RunRecord) -> Card:
    """Returns what a user of the study's arm must know of it."""
    parts = {part.anchor: part.text for part in methods(run)}
    found = "; ".join(f"{metric_text(name)} {value}" for name, value in headline(run).items())
    source = run.record["weights"].get(run.arm, {})
    return [
        ("Model", f"{arm_text(run.arm)} of run {run.name}; models/{run.arm}.keras in the run folder."),
        ("Takes", f"One whole-body bone scan, two views in counts. {parts['methods-preprocessing']}"),
        ("Gives", "A score from 0 to 1, and with the threshold below, a call. No location, no diagnosis."),
        ("Meant for", "Research on the method, by people who can read a bone scan. Not for the care of patients."),
        ("Not meant for", "Ruling metastases in or out, other tracers, SPECT, scans of one view, screen captures."),
        ("Started from", f"{weights_text(run.arm, run.weights)}. {source.get('note', '')}".strip()),
        ("Trained on", f"{parts['methods-partitions']} {parts['methods-training']}"),
        ("Operating point", parts["methods-threshold"]),
        ("Test results", f"{found}." if found else "No test results on record."),
        ("Unusable input", "A file that is no two-view whole-body bone scan is refused with a reason, never scored."),
        ("Limitations", " ".join(limitations(run))),
        ("Fairness", "Results by sex, age and cancer stand under Subgroups where the run has them."),
    ]


def data_card(run: RunRecord) -> Card:
    """Returns what a user of the data must know of them."""
    parts = {part.anchor: part.text for part in methods(run)}
    manifest = run.record["manifest"]
    return [
        ("Data", f"{manifest['name']}, {manifest['scans']:,} scans; SHA-256 {manifest['sha256']}."),
        ("Where from", parts["methods-data"]),
        ("Labels", parts["methods-reference"]),
        ("Composition", _composition(run)),
        ("Partitions", parts["methods-partitions"]),
        ("Personal data", "None: no patient took part." if run.synthetic else AUTHOR),
        ("Text burned into pixels", _burned_in(run)),
        ("Consent and approval", "Not needed: synthetic." if run.synthetic else AUTHOR),
        ("Terms of use", "Made by this package, under its licence." if run.synthetic else AUTHOR),
        ("Known gaps", " ".join(limitations(run)[:2])),
    ]


def _composition(run: RunRecord) -> str:
    """Returns what the cohort is made of, in words."""
    if run.cohort is None:
        return "The run has no cohort on record."
    cohort, said = run.cohort, [f"{len(run.cohort):,} scans used"]
    for column, name in {
        "sex": "sex",
        "primary_cancer": "primary cancer",
        "site": "site",
        "scanner": "scanner",
    }.items():
        counts = cohort[column].replace("", "unknown").value_counts()
        said.append(f"{name}: " + ", ".join(f"{value} {n:,}" for value, n in counts.items()))
    ages = cohort["age"].dropna().astype(float) if (cohort["age"].astype(str) != "").any() else None
    if ages is not None and len(ages):
        said.append(f"age {ages.min():.0f}-{ages.max():.0f} years, median {ages.median():.0f}")
    sizes = partition_sizes(cohort)
    said.append(", ".join(f"{row.group} {row.n:,}" for row in sizes.itertuples()))
    return "; ".join(said) + "."


def _burned_in(run: RunRecord) -> str:
    """Returns what is known of text in the pixels: only what the files' headers said."""
    if run.synthetic:
        return "None: synthetic."
    cohort = pd.DataFrame() if run.cohort is None else run.cohort
    none, n = int((cohort["burned_in"] == "no").sum()) if "burned_in" in cohort else 0, len(cohort)
    return f"None in {none:,} scans, by their header; in {n - none:,} burned-in text is unknown. No pixels were read."


def as_markdown(title: str, card: Card) -> str:
    """Returns a card as Markdown in which text from the data can be no markup."""
    lines = [f"# {plain(title)}", ""]
    for heading, text in card:
        lines += [f"## {heading}", plain(text), ""]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Returns text with the signs that Markdown and HTML act on made inert."""
    safe = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]#|!" else sign for sign in safe)
