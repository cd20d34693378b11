"""Reports: which row of a table of reports is about which scan. No text of a report is copied.

The table comes from the hospital's report system, so it names patients. What goes into the manifest is the row of the
report (as a spreadsheet counts: the header is row 1), its label if `bonescan label` gave one, the days between scan and
report, and the primary cancer as a word of `vocabulary`. Whoever holds the table finds the text by its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bonescan_utils.files import CsvError, read_text_csv
from bonescan_utils.ingest.keys import Pseudonyms
from bonescan_utils.ingest.scans import Known, Scans
from bonescan_utils.ingest.vocabulary import primary_cancer
from bonescan_utils.labelling.engine import LABELS

_ACCESSION = re.compile(r"accession([ _]?(no|number|id))?", re.IGNORECASE)
_NUMBER = re.compile(r"patient([ _]?(no|number|id))|hospital[ _]?(no|number|id)|mrn", re.IGNORECASE)
_DATE = re.compile(r"(study|exam|report|scan)?[ _]?date", re.IGNORECASE)
MAX_DAYS = 30
"""A report that is found by patient and date is of at most so many days after its scan."""


@dataclass
class Report:
    """A report: its row in the table, the pseudonyms that it is found by, and what goes into the manifest.

    Attributes:
        faults: Cells of it that are not used: `report_date`, `report_label`.
    """

    row: int
    accession: str
    number: str
    day: date | None
    label: str
    primary: str
    faults: tuple[str, ...] = ()


def read_reports(path: Path, names: Pseudonyms) -> list[Report]:
    """Reads the table of reports.

    Raises:
        CsvError: It is no table, has no report, or no column that tells the study or the patient.
    """
    table = read_text_csv(path)
    columns = [str(name) for name in table.columns]
    found = {kind: next((name for name in columns if pattern.fullmatch(name)), "") for kind, pattern in _KINDS.items()}
    if not found["accession"] and not (found["number"] and found["date"]):
        shown = ", ".join(columns)[:200]
        raise CsvError(
            path, 1, f"expected a column accession, or patient_id and date, to find the scans; found {shown}"
        )
    if table.empty:
        raise CsvError(path, 1, "a header and no rows; expected at least one report")
    return [_report(at + 2, row, found, names) for at, row in enumerate(table.to_dict("records"))]


_KINDS = {"accession": _ACCESSION, "number": _NUMBER, "date": _DATE}


def _report(at: int, row: dict[Any, str], found: dict[str, str], names: Pseudonyms) -> Report:
    def cell(name: str) -> str:
        return row.get(name, "").strip() if name else ""

    accession, number = cell(found["accession"]), cell(found["number"]).casefold()
    label, day = cell("label").lower(), _day(cell(found["date"]))
    faults = {"report_date": cell(found["date"]) and day is None, "report_label": label and label not in LABELS}
    return Report(
        at,
        names.token("accession", accession) if accession else "",
        names.token("number", number) if number else "",
        day,
        label if label in LABELS else "",
        primary_cancer(cell("primary_cancer")),
        tuple(code for code, faulty in faults.items() if faulty),
    )


def _day(text: str) -> date | None:
    """Returns a day of the past or today; None for anything else."""
    digits = re.sub(r"\D", "", text)[:8]
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
    return day if day <= date.today() else None


def link_reports(scans: Scans, reports: list[Report]) -> Iterator[tuple[Report, Known | None, str]]:
    """Gives each report with its scan, or with None and the reason.

    By accession number first; without one by patient and date: the one scan at most `MAX_DAYS` before the report,
    the latest if there are several. A second report of a scan is not used.

    Args:
        scans: The scans that can be used.
        reports: From `read_reports`.
    """
    taken: set[str] = set()
    for report in reports:
        fitting = scans.with_accession(report.accession) if report.accession else []
        if not fitting and report.number:
            near = ((days_between(scan, report), scan) for scan in scans.with_number(report.number))
            dated = [(days, scan) for days, scan in near if days is not None and 0 <= days <= MAX_DAYS]
            fitting = [scan for days, scan in dated if days == min(dated, key=lambda pair: pair[0])[0]]
        reason = "" if len(fitting) == 1 else ("report_unlinked" if not fitting else "report_ambiguous")
        if not reason and fitting[0].scan_id in taken:
            reason = "report_second"
        if not reason:
            taken.add(fitting[0].scan_id)
        yield report, None if reason else fitting[0], reason


def days_between(scan: Known, report: Report) -> int | None:
    """Returns the days from scan to report; None if a date is unknown."""
    if not scan.moment or report.day is None:
        return None
    return (report.day - date.fromisoformat(scan.moment[:10])).days
