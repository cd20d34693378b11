"""Table: the scans that pairing made -> the rows of a manifest. What identifies somebody has no column."""

from __future__ import annotations

from datetime import date
from typing import Any

from bonescan_utils.files import safe_text
from bonescan_utils.manifest_rules import COLUMNS, MAX_TEXT
from bonescan_utils.scan import VIEWS

EXTRA = (
    "study_day", "tracer", "dose_mbq", "uptake_min", "velocity_mm_s", "collimator", "counts_anterior",
    "counts_posterior", "pixel_mm_row", "pixel_mm_column", "view_evidence", "posterior_mirrored", "burned_in",
    "person_hint", "report_row", "report_label", "report_days", "notes",
)  # fmt: skip
"""Columns beyond those of every manifest: what quality control, the audit and the rules of a cohort need."""

TOO_FEW_COUNTS = 1_500_000
"""Counts of a view that guidelines ask for; below it, the scan is used with a note."""


HEADER = (*COLUMNS, *EXTRA)
"""The columns of the manifest of an ingest."""


def study_days(scans: list[dict[str, Any]]) -> list[int | None]:
    """Returns for each scan of one patient the days since the patient's first; None without a date."""
    days = [date.fromisoformat(scan["when"][:10]) if scan["when"] else None for scan in scans]
    first = min((day for day in days if day), default=None)
    return [(day - first).days if day and first else None for day in days]


def manifest_row(scan: dict[str, Any], day: int | None) -> dict[str, Any]:
    """Returns the row of a scan, the columns of a report empty."""
    views = scan["views"]
    mm = next((view["mm"] for view in views.values() if view["mm"]), [None, None])
    row: dict[str, Any] = dict.fromkeys(HEADER, "")
    row |= {
        "scan_id": scan_id_of(scan),
        "patient_id": f"P-{scan['patient']}",
        "age": scan["age"],
        "sex": scan["sex"],
        "site": f"site-{scan['site']}" if scan["site"] else "",
        "scanner": scan["scanner"],
        "study_day": day,
        "pixel_mm_row": mm[0],
        "pixel_mm_column": mm[1],
        "view_evidence": "/".join(dict.fromkeys(view["source"] for view in views.values())),
        "person_hint": scan["person"],
        "notes": _notes(scan),
        **{name: scan[name] for name in ("tracer", "dose_mbq", "uptake_min", "velocity_mm_s", "collimator")},
        **{name: scan[name] for name in ("posterior_mirrored", "burned_in")},
    }
    for name in VIEWS:
        if name in views:
            row |= {name: views[name]["image"], f"sha256_{name}": views[name]["sha256"]}
            row[f"counts_{name}"] = views[name]["counts"]
    return row


def scan_id_of(record: dict[str, Any]) -> str:
    """Returns the scan id of a record: one scan per study."""
    return f"S-{record['study']}" if record.get("study") else ""


def _notes(scan: dict[str, Any]) -> str:
    notes = list(scan["notes"])
    few = [name for name, view in scan["views"].items() if view["counts"] < TOO_FEW_COUNTS]
    notes += [f"{' and '.join(few)} below {TOO_FEW_COUNTS:,} counts"] if few else []
    notes += [f"only the {next(iter(scan['views']))} view"] if len(scan["views"]) == 1 else []
    notes += ["posterior view seems mirrored"] if scan["posterior_mirrored"] == "yes" else []
    return safe_text("; ".join(notes), limit=MAX_TEXT)
