"""Leaks: the audit that a run makes of its cohort before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.audit import SEVERITIES, require_no_leak
from bonescan_utils.files import read_text_csv, write_csv
from bonescan_utils.manifest import is_phantom
from bonescan_utils.screen import Screen

COHORT, QUARANTINE, EXCLUDED = "cohort.csv", "quarantine.csv", "excluded.csv"
FINDINGS, FINGERPRINTS = "audit.csv", "fingerprints.csv"
"""Files of the run folder: what notebook 01 wrote; what the audit writes."""


def audit_run(folder: Path, manifest: pd.DataFrame, *, n_jobs: int = -1, screen: Screen) -> dict[str, Any]:
    """Audits the cohort of a run; training does not start on a leak.

    All scans are looked through for patients in two partitions, shortcuts and drifts. Images are compared with each
    other, but for those of phantoms, which are made from seeds that differ. Scans that were set aside because they
    have the pixels of another patient are a leak too: one of the two is under a wrong patient.

    Args:
        folder: The run folder, with the cohort of notebook 01.
        manifest: From `read_manifest`.
        n_jobs: Worker processes; -1 is one per processor.
        screen: Where it is said what is done.

    Returns:
        For the run's record: scans, images_compared, phantoms_not_compared, unread, and findings by severity.

    Raises:
        AuditError: There is a leak or a label conflict.
        RuntimeError: A scan of the manifest is not used, set aside or excluded, or is more than one of these.
    """
    _check_accounted(folder, manifest)
    rows = cohort_rows(folder, manifest)
    images = ~is_phantom(rows) | (rows["partition"] == "")
    if images.any():
        screen.line(f"  audit: comparing the images of {int(images.sum()):,} scans ...")
    root = Path(manifest.attrs["path"]).parent
    cache = folder / FINGERPRINTS if images.any() else None
    found = require_no_leak(rows, root, images=images, cache=cache, n_jobs=n_jobs, progress=False)
    write_csv(folder / FINDINGS, found.findings)
    counts = {name: int((found.findings["severity"] == name).sum()) for name in SEVERITIES}
    told = {"scans": len(rows), "images_compared": found.compared, "phantoms_not_compared": int((~images).sum())}
    screen.line(_line(told, counts))
    return told | {"unread": found.unread, "findings": counts}


def _check_accounted(folder: Path, manifest: pd.DataFrame) -> None:
    """Checks that every scan of the manifest ended in one of the three tables of notebook 01."""
    from bonescan_utils.flow import check_accounted

    paths = [folder / name for name in (COHORT, QUARANTINE, EXCLUDED)]
    ends = {path.name: read_text_csv(path)["scan_id"] for path in paths if path.is_file()}
    check_accounted(manifest["scan_id"], ends)


def wrote_cohort(step: Mapping[str, Any]) -> bool:
    """Tells by the record of a step whether it wrote the cohort."""
    return any(output["path"] == COHORT for output in step.get("outputs", []))


def cohort_rows(folder: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the manifest that the run uses, with the run's partitions.

    Scans that were set aside because they share pixels with another patient come with an empty partition.
    """
    cohort, aside = read_text_csv(folder / COHORT), read_text_csv(folder / QUARANTINE)
    shared = aside.loc[aside["code"] == "shared_pixels", "scan_id"]
    partition = dict(zip(cohort["scan_id"], cohort["partition"], strict=True)) | dict.fromkeys(shared, "")
    rows = manifest[manifest["scan_id"].isin(list(partition))].reset_index(drop=True)
    return rows.assign(partition=rows["scan_id"].map(partition))


def _line(told: dict[str, int], counts: dict[str, int]) -> str:
    """Returns what is said on the screen."""
    findings = ", ".join(f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n) or "no finding"
    phantoms = told["phantoms_not_compared"]
    skipped = f" (images of {phantoms:,} phantoms not compared)" if phantoms else ""
    return f"  audit of {told['scans']:,} scans: {findings}{skipped}" + (
        f"; see {FINDINGS}" if any(counts.values()) else ""
    )
