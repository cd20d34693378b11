"""Outcome: what an ingest leaves beside the images: manifest, quarantine and flow; and that their numbers add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import write_csv
from bonescan_utils.long_tables import read_rows, write_rows
from bonescan_utils.problems import ManifestError, Problem
from bonescan_utils.temporaries import remove_stale

QUARANTINE_COLUMNS = ("file", "row", "scan_id", "code", "reason", "next_step")

NO_CANDIDATES = frozenset(
    "modality not_whole_body matrix not_dicom not_image not_file unreadable empty too_large energy_window".split()
)
"""Codes of files that are no whole-body bone scan, or not readable at all; other codes are of scans set aside."""


@dataclass(frozen=True)
class Outcome:
    """What became of a folder.

    Attributes:
        manifest: Path of the manifest; it is not written if no scan could be used.
        quarantine: Path of the table of what was set aside.
        scans, patients: Their numbers in the manifest.
        ends: end -> number of files, for used, quarantined and ignored.
        ignored: code -> number of files.
        reports: Reports given, and reports that found their scan; (0, 0) without a table of reports.
        set_aside: Rows of the quarantine table.
    """

    manifest: Path
    quarantine: Path
    scans: int
    patients: int
    ends: dict[str, int]
    ignored: dict[str, int]
    reports: tuple[int, int]
    set_aside: int

    def __str__(self) -> str:
        lines = [
            f"{sum(self.ends.values()):,} files: {self.ends['used']:,} used, {self.ends['quarantined']:,} quarantined,"
            f" {self.ends['ignored']:,} ignored.",
        ]
        lines += [f"Ignored: {n:,} {code.replace('_', ' ')}." for code, n in self.ignored.items()]
        lines += [f"Reports: {self.reports[0]:,}, of which {self.reports[1]:,} found their scan."] * bool(
            self.reports[0]
        )
        lines += [f"{self.scans:,} scans of {self.patients:,} patients: {self.manifest}"] if self.scans else []
        lines += ["No scan can be used; no manifest was written."] * (not self.scans)
        lines += [f"Set aside: {self.set_aside:,} rows in {self.quarantine}"] * bool(self.set_aside)
        return "\n".join(lines)


def file_flow(tally: Iterable[tuple[str, str, int]]) -> pd.DataFrame:
    """Returns the flow of files for the diagram: found, those that may be scans, those that are used.

    Args:
        tally: (end, code, number of files).

    Raises:
        RuntimeError: A file has no end; a fault of this program.
    """
    rows = list(tally)
    if lost := sum(n for end, _, n in rows if end not in ("used", "quarantined", "ignored")):
        raise RuntimeError(f"{lost} files were lost on the way")
    n = sum(n for _, _, n in rows)
    table: list[dict[str, Any]] = [{"step": "Files found", "n": n, "excluded": 0, "reason": ""}]
    for step, wanted in (
        ("Files but for indexes, links and system files", lambda end, code: end == "ignored"),
        ("Files of whole-body bone scans", lambda end, code: end == "quarantined" and code in NO_CANDIDATES),
        ("Files used", lambda end, code: end == "quarantined" and code not in NO_CANDIDATES),
    ):
        left_out = {code: count for end, code, count in rows if wanted(end, code)}
        n -= sum(left_out.values())
        reason = "; ".join(f"{count:,} {code.replace('_', ' ')}" for code, count in sorted(left_out.items()))
        table.append({"step": step, "n": n, "excluded": sum(left_out.values()), "reason": reason})
    return pd.DataFrame(table)


def check_target(manifest: Path, *, columns: tuple[str, ...] = ("metastasis", "partition")) -> None:
    """Checks that no work of people is overwritten.

    Raises:
        ManifestError: There is a manifest already, and one of `columns` is filled in.
        CsvError: What is there is no manifest.
    """
    if not manifest.exists():
        return
    for row in read_rows(manifest):
        for column in columns:
            if row.get(column):
                hint = "It was worked on: give another name to --out, or move it away."
                raise ManifestError([Problem(str(manifest), 0, "", column, "filled cells", "none yet", hint)])


def check_unlike(quarantine: Path, *others: str | Path | None) -> None:
    """Checks that the quarantine is not written over the manifest or the reports.

    Raises:
        ManifestError: It is one of `others`.
    """
    if quarantine.resolve() in {Path(other).resolve() for other in others if other}:
        expected = "a file of its own, neither the manifest nor the reports"
        raise ManifestError([Problem(str(quarantine), 0, "", "", "", expected, "Give --quarantine another name.")])


def remove_leftovers(images: Path, *tables: Path) -> None:
    """Removes what killed calls left half written: among the images, and in the folders of the tables."""
    remove_stale(images)
    for folder in {table.parent for table in tables}:
        remove_stale(folder, deep=False)


def write_aside(quarantine: Path, rows: Iterable[Sequence[Any]], manifest: Path, flow: pd.DataFrame) -> int:
    """Writes quarantine, `QUARANTINE_COLUMNS` in each row, and flow; returns the rows of quarantine."""
    n = write_rows(quarantine, QUARANTINE_COLUMNS, rows)
    write_csv(flow_files(manifest)[0], flow)
    return n


def flow_files(manifest: Path) -> tuple[Path, Path]:
    """Returns where the flow of files stands beside a manifest: the table, and the figure that the command draws."""
    table = manifest.with_name(f"{manifest.stem}_flow.csv")
    return table, table.with_suffix(".png")


def default_quarantine(manifest: Path) -> Path:
    """Returns the quarantine table's place if none is named: beside the manifest."""
    return manifest.with_name(f"{manifest.stem}_quarantine.csv")
