"""Labelled: the last step of labelling: from report labels in a manifest and the log of readings to a labelled one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bonescan_utils.files import write_csv
from bonescan_utils.labelling.adjudication import adjudication_queue, cohort_labels, image_review, report_labels, settle
from bonescan_utils.labelling.agreement import MIN_REVIEWED, agreement_table, write_agreement
from bonescan_utils.labelling.lexicon import Lexicon
from bonescan_utils.labelling.readings import current_decisions, current_readings, read_log, reading_matrix
from bonescan_utils.labelling.reports import LabelError
from bonescan_utils.manifest import read_manifest, write_manifest

LOG, AGREEMENT, QUEUE = "readings.csv", "agreement.csv", "queue.csv"
"""Files of the folder of the review."""


@dataclass(frozen=True)
class Labelled:
    """A manifest that was labelled.

    Attributes:
        path: The labelled manifest.
        settled: From `adjudication.settle`, a row per scan of the manifest that was given.
        agreement: From `agreement.agreement_table`.
    """

    path: Path
    settled: pd.DataFrame
    agreement: pd.DataFrame

    def __str__(self) -> str:
        used = self.settled[self.settled["status"] == "settled"]
        left = self.settled[self.settled["status"] != "settled"]
        lines = [f"{row['comparison']}: kappa {_kappa(row)}, n = {row['n']:,}" for _, row in self.agreement.iterrows()]
        lines.append(f"{len(self.settled):,} scans: {len(used):,} labelled, {len(left):,} left out.")
        lines += [f"  labelled by {source}: {n:,}" for source, n in used["label_source"].value_counts().items()]
        lines += [f"  left out, {reason}: {n:,}" for reason, n in left["reason"].value_counts().items()]
        lines.append(f"{int(used['metastasis'].sum()):,} with metastasis: {self.path}")
        return "\n".join(lines)


def label_manifest(
    manifest: str | Path, out: str | Path, *, review: str | Path, lexicon: Lexicon, seed: int = 2022,
    min_scans: int = MIN_REVIEWED,
) -> Labelled:  # fmt: skip
    """Settles the label of every scan of a manifest and writes the manifest of those that have one.

    In this order: the agreement is computed and written; the queue for adjudication is written; a label from a report
    alone is refused without a reviewed sample of `min_scans` scans; the labelled manifest is written, and beside it
    `<out>_labels.csv`, which says of every scan where its label comes from or why it has none.

    Args:
        manifest: As `bonescan ingest` made it; reports come in by its column `report_label`, if it has one.
        out: The manifest to write, in the same folder, since paths are relative to it.
        review: Folder of the review, with `readings.csv`.
        lexicon: The lexicon that labelled the reports.
        seed: Seed of the resamples of the agreement.
        min_scans: Scans of which image review and report must both be known before a report may count alone.

    Raises:
        LabelError: A label comes from a report alone and too few scans were reviewed, no scan has a label, or `out`
            is the manifest itself or in another folder.
        ManifestError: The manifest cannot be used.
    """
    manifest, out, review = Path(manifest), Path(out), Path(review)
    _check_target(manifest, out)
    df = read_manifest(manifest, labelled=False)
    log = read_log(review / LOG)
    readings, reports = current_readings(log), report_labels(df)
    settled = settle(df["scan_id"], readings=readings, decisions=current_decisions(log), reports=reports)
    patients = pd.Series(df["patient_id"].to_numpy(), index=pd.Index(df["scan_id"]))
    matrix, reviewed = reading_matrix(readings), image_review(settled)
    table = agreement_table(matrix, patients, reports=reports, reviewed=reviewed, seed=seed)
    write_agreement(review / AGREEMENT, table, lexicon)
    write_csv(review / QUEUE, adjudication_queue(settled))
    labels = cohort_labels(settled, agreement=review / AGREEMENT, lexicon=lexicon, min_scans=min_scans)
    if labels.empty:
        raise LabelError(
            f"{manifest}: no scan has a label yet: {_why_none(settled)}. Read on with `bonescan"
            f" review {manifest} --reader B`"
        )
    kept = df.drop(columns=["metastasis", "label_source"]).merge(labels, on="scan_id", validate="one_to_one")
    write_csv(out.with_name(f"{out.stem}_labels.csv"), settled.drop(columns=["readings", "report_label"]))
    write_manifest(out, kept)
    return Labelled(out, settled, table)


def _why_none(settled: pd.DataFrame) -> str:
    """Returns how many scans lack a label for which reason, the most frequent first."""
    counts = settled.loc[settled["metastasis"].isna(), "reason"].value_counts()
    return ", ".join(f"{n:,} {'scan' if n == 1 else 'scans'}: {reason}" for reason, n in counts.items())


def _check_target(manifest: Path, out: Path) -> None:
    if out.resolve() == manifest.resolve():
        raise LabelError(f"--out {out}: it is the manifest itself; name another file beside it")
    if out.resolve().parent != manifest.resolve().parent:
        raise LabelError(f"--out {out}: expected a file in {manifest.parent}, since its paths are relative to there")


def _kappa(row: pd.Series) -> str:
    """Returns a kappa with its interval."""
    if pd.isna(row["kappa"]):
        return "undefined (one reading throughout)"
    return f"{row['kappa']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
