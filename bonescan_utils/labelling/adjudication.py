"""Adjudication: from reports and readings to one label for each scan, with its source; what differs is queued."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bonescan_utils.labelling.agreement import MIN_REVIEWED, REPORT_READING, require_agreement
from bonescan_utils.labelling.lexicon import Lexicon
from bonescan_utils.labelling.reports import LabelError

METASTASIS = {"abnormal": 1, "normal": 0}
SETTLED_COLUMNS = ("scan_id", "status", "metastasis", "label_source", "reason", "readings", "report_label")


def settle(
    scan_ids: pd.Series, *, readings: pd.DataFrame, decisions: pd.DataFrame, reports: pd.Series | None = None
) -> pd.DataFrame:
    """Settles the label of each scan.

    An adjudication decides. Else two or more readers who agree, unless the report says the contrary. Else one reader
    and the report together. Else the report alone (see `cohort_labels` for when that may be used).

    Args:
        scan_ids: The scans; every one of them is in the result, once.
        readings: From `readings.current_readings`.
        decisions: From `readings.current_decisions`.
        reports: Label of each report, indexed by `scan_id`.

    Returns:
        `SETTLED_COLUMNS`: `status` is `settled`, `queue` (to be adjudicated) or `open` (nothing decides yet);
        `metastasis` is 0, 1 or missing; `label_source` says where it comes from; `reason` why there is none.

    Raises:
        LabelError: A scan is named twice, or a reading is of a scan that is not named.
    """
    known = set(scan_ids)
    if len(known) != len(scan_ids):
        raise LabelError(f"{len(scan_ids) - len(known)} scans are named twice; expected each scan once")
    strangers = sorted((set(readings["scan_id"]) | set(decisions["scan_id"])) - known)
    if strangers:
        raise LabelError(f"{len(strangers)} scans were read that are not in the cohort, such as {strangers[0]!r}")
    said = readings.groupby("scan_id")["reading"].agg(list).to_dict()
    decided = dict(zip(decisions["scan_id"], decisions["reading"], strict=True))
    labels = {} if reports is None else reports.to_dict()
    rows = [_settled(scan, said.get(scan, []), decided.get(scan, ""), str(labels.get(scan, ""))) for scan in scan_ids]
    return pd.DataFrame(rows, columns=pd.Index(SETTLED_COLUMNS)).astype({"metastasis": "Int64"})


def _settled(scan_id: str, said: list[str], decision: str, label: str) -> dict[str, object]:
    """Returns the row of one scan."""
    reading, source, reason, queued = _verdict(said, decision, REPORT_READING.get(label, ""), label)
    status = "queue" if queued else "settled" if reading else "open"
    return {
        "scan_id": scan_id, "status": status, "metastasis": METASTASIS.get(reading), "label_source": source,
        "reason": reason, "readings": ";".join(said), "report_label": label,
    }  # fmt: skip


def _verdict(said: list[str], decision: str, report: str, label: str) -> tuple[str, str, str, bool]:
    """Returns reading, source, reason and whether the scan is queued."""
    if decision:
        unsure = decision == "unsure"
        return (
            ("", "", "unsure after adjudication", False)
            if unsure
            else (decision, "adjudicated image review", "", False)
        )
    if len(set(said)) > 1:
        return "", "", "readers differ", True
    if said and said[0] == "unsure":
        return "", "", "readers are unsure", True
    if said and report in METASTASIS and report != said[0]:
        return "", "", "image review differs from the report", True
    if len(said) > 1:
        return said[0], f"image review, {len(said)} readers", "", False
    if said:
        both = said[0] == report
        return (said[0], "report and one reader", "", False) if both else ("", "", "needs a second reader", False)
    if report in METASTASIS:
        return report, "report", "", False
    return "", "", f"report label {label}" if label else "neither report label nor reading", False


def report_labels(df: pd.DataFrame) -> pd.Series | None:
    """Returns the label of each report, indexed by `scan_id`, of the scans that have one; None without any."""
    if "report_label" not in df:
        return None
    labels = pd.Series(df["report_label"].to_numpy(), index=pd.Index(df["scan_id"]))
    return labels[labels != ""] if (labels != "").any() else None


def image_review(settled: pd.DataFrame) -> pd.Series:
    """Returns what image review says of each scan that readers settled, blind to the report: indexed by `scan_id`.

    These are the readings that report labels are compared with: an adjudication, or readers who agree, also where
    they differ from the report.
    """
    of = {1: "abnormal", 0: "normal"}
    adjudicated = settled["label_source"] == "adjudicated image review"
    alike = settled["readings"].map(lambda said: said.split(";")[0] if len(set(said.split(";"))) == 1 else "")
    reading = settled["metastasis"].map(of).where(adjudicated, alike).fillna("")
    found = pd.Series(reading.to_numpy(), index=pd.Index(settled["scan_id"]))
    return found[found != ""]


def cohort_labels(
    settled: pd.DataFrame, *, agreement: str | Path, lexicon: Lexicon, min_scans: int = MIN_REVIEWED
) -> pd.DataFrame:
    """Returns the labels that may enter a cohort: `scan_id, metastasis, label_source`.

    Where one of them comes from a report alone, the agreement of a reviewed sample must have been written before.

    Args:
        settled: From `settle`.
        agreement: The file of `agreement.write_agreement`.
        lexicon: The lexicon that labelled the reports.
        min_scans: Scans that the sample must hold.

    Raises:
        LabelError: A label comes from a report alone, and no fitting agreement is written.
    """
    used = settled[settled["status"] == "settled"]
    if (used["label_source"] == "report").any():
        require_agreement(agreement, lexicon, min_scans=min_scans)
    return used[["scan_id", "metastasis", "label_source"]].astype({"metastasis": "int64"}).reset_index(drop=True)


def adjudication_queue(settled: pd.DataFrame) -> pd.DataFrame:
    """Returns the scans to be adjudicated: `scan_id, reason`; what was said is left out, so that it stays blinded."""
    return settled.loc[settled["status"] == "queue", ["scan_id", "reason"]].reset_index(drop=True)
