"""Folder: a whole tree of DICOM files -> manifest, images, quarantine. Parallel over files, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bonescan_utils.ingest.examine import IMAGES, examine
from bonescan_utils.ingest.journal import Journal, open_journal
from bonescan_utils.ingest.keys import Pseudonyms, default_key_file, load_key, private_files
from bonescan_utils.ingest.outcome import (
    Outcome,
    check_target,
    check_unlike,
    default_quarantine,
    file_flow,
    flow_files,
    remove_leftovers,
    write_aside,
)
from bonescan_utils.ingest.pairing import pair_study
from bonescan_utils.ingest.reports import Report, days_between, link_reports, read_reports
from bonescan_utils.ingest.scans import COPY, SHARED, Scans
from bonescan_utils.ingest.table import HEADER, scan_id_of, study_days
from bonescan_utils.ingest.walk import IGNORED, Found, walk
from bonescan_utils.labelling.engine import LABELS
from bonescan_utils.lock import NAME as LOCK
from bonescan_utils.lock import run_lock
from bonescan_utils.long_tables import write_rows
from bonescan_utils.manifest import write_manifest_rows
from bonescan_utils.problems import ManifestError, Problem
from bonescan_utils.workers import in_order

COMMIT_EVERY = 500
SERIAL_BELOW = 600
"""With fewer files than this, starting worker processes costs more than it saves: a process takes about 2 s of a
processor to start, a file 6 ms to read."""

_AT_SIGHT = {
    "not_file": ("not_file", "a device, pipe or socket; expected a regular file.", "Leave it out."),
    "unreadable": ("unreadable", "it cannot be read.", "Give the permission to read it, or leave it out."),
}
_SEEN_TWICE = {
    SHARED: ("the same pixels as a scan of another patient.", "Find out whose scan it is."),
    COPY: ("the same pixels as another scan of the patient.", "Nothing."),
}
_REPORT_REASONS = {
    "report_unlinked": ("no scan has its number, or its patient and date.", "Is the study in the folder?"),
    "report_ambiguous": ("several scans fit it.", "Add the accession number."),
    "report_second": ("the scan has another report already.", "Keep the final report only."),
}
_CELL_REASONS = {
    "report_date": ("its date is no day up to today; it is not used.", "Write dates as 2021-03-15."),
    "report_label": (f"its label is none of {', '.join(LABELS)}; it is not used.", "Use `bonescan label`."),
}


def ingest_folder(
    root: str | Path,
    manifest: str | Path,
    *,
    quarantine: str | Path | None = None,
    reports: str | Path | None = None,
    key_file: str | Path | None = None,
    n_jobs: int = -1,
    progress: bool = True,
) -> Outcome:
    """Finds the whole-body bone scans in a folder tree and makes an unlabelled manifest of them.

    Views go to `images/` beside the manifest, under pseudonyms. Every file ends as used, quarantined or ignored.
    Beside the key file, for its owner only: a journal, from which an ingest that was stopped goes on, and
    `links.csv`, which tells the file behind each pseudonym.

    Args:
        root: The folder.
        manifest: The CSV to write.
        quarantine: The CSV of what was set aside; `<manifest>_quarantine.csv` if none is named.
        reports: A CSV of reports to link to the scans; see `reports`.
        key_file: Of the pseudonyms; see `keys.default_key_file`.
        n_jobs: Worker processes; -1 is one per processor.
        progress: Show a progress bar.

    Raises:
        KeyFileError: The key cannot be used.
        CsvError: The table of reports cannot be used.
        ManifestError: `root` is no folder, or there is a manifest with labels already.
        StudyError: Another ingest is writing to the folder of the manifest.
        RuntimeError: The files do not add up; a fault of this program.
    """
    root, manifest = Path(root), Path(manifest)
    out = manifest.parent
    _check_folder(root)
    check_target(manifest)
    quarantine = Path(quarantine) if quarantine else default_quarantine(manifest)
    check_unlike(quarantine, manifest, reports)
    key_file = Path(key_file) if key_file else default_key_file()
    key = load_key(key_file, output=out)
    told = read_reports(Path(reports), Pseudonyms(key)) if reports else []
    remove_leftovers(out / IMAGES, manifest, quarantine, key_file)
    identity = "\n".join([str(root.resolve()), str(out.resolve()), hashlib.sha256(key).hexdigest()])
    name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    own = (out / IMAGES, manifest, quarantine, *flow_files(manifest), out / LOCK, key_file)
    kept = key_file.with_name(f"{key_file.name}.{name}.journal")
    with run_lock(out, option="--out"), closing(open_journal(kept, identity)) as journal:
        _note(journal, walk(root, without=own), out, Pseudonyms(key))
        _read(journal, partial(examine, root=root.resolve(), out=out.resolve(), key=key), n_jobs, progress)
        _pair(journal)
        outcome = _written(journal, _link(journal.scans, told), manifest, quarantine, n_reports=len(told))
        _write_links(journal, key_file.with_name(f"{key_file.name}.{name}.links.csv"))
        return outcome


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise ManifestError(
            [Problem("DIR", value="no folder", expected="a folder that exists", hint="Check the path.")]
        )


def _note(journal: Journal, entries: Iterator[Found], out: Path, names: Pseudonyms) -> None:
    """Notes every entry; what its sight tells needs no reading."""
    batch: list[Found] = []
    for found in entries:
        batch.append(found)
        if len(batch) == COMMIT_EVERY:
            _note_batch(journal, batch, names)
            batch = []
    _note_batch(journal, batch, names)
    journal.forget_absent()
    journal.forget_without_images(out)


def _note_batch(journal: Journal, batch: list[Found], names: Pseudonyms) -> None:
    journal.note(batch)
    for found in batch:
        if found.code:
            why = (found.code, IGNORED[found.code], "") if found.code in IGNORED else _AT_SIGHT[found.code]
            journal.name(found.path, names.token("file", found.path))
            journal.settle(path=found.path, end="ignored" if found.code in IGNORED else "quarantined", why=why)


def _read(journal: Journal, examined: Any, n_jobs: int, progress: bool) -> None:
    """Reads the files that have no record yet, page by page: the paths of all are not held at once."""
    n = journal.n_pending()
    jobs = 1 if n < SERIAL_BELOW else n_jobs
    with tqdm(desc="Reading files", total=n, disable=not (progress and n), unit="file") as bar:
        for paths in journal.pending():
            records = in_order(examined, paths, label="", n_jobs=jobs, progress=False)
            for at, (path, record) in enumerate(zip(paths, records, strict=True), start=1):
                journal.store(path, record)
                bar.update()
                if at % COMMIT_EVERY == 0:
                    journal.commit()
            journal.commit()


def _pair(journal: Journal) -> None:
    """Makes the scans, patient by patient, and settles the end of every file."""
    for path, record in journal.refused():
        journal.settle(path=path, end="quarantined", why=(record["code"], record["reason"], record["next_step"]))
    for studies in journal.patients():
        ends = [pair_study(records) for records in studies]
        scans = [end.scan for end in ends if end.scan]
        for scan, day in zip(scans, study_days(scans), strict=True):
            journal.scans.add(scan, day)
        for end, records in zip(ends, studies, strict=True):
            scan_id = scan_id_of(records[0])
            for file in end.files:
                journal.settle(file=file, end="used", scan_id=scan_id)
            for file, why in end.refused.items():
                journal.settle(file=file, end="quarantined", scan_id=scan_id, why=why)
    for fault, (reason, step) in _SEEN_TWICE.items():
        journal.set_scans_aside(fault, (fault, reason, step))
    journal.scans.drop_faulty()


def _link(scans: Scans, reports: list[Report]) -> list[tuple[Any, ...]]:
    """Puts what reports tell into the rows; returns the rows of quarantine for the others, and for cells not used."""
    aside: list[tuple[Any, ...]] = []
    for report, scan, code in link_reports(scans, reports):
        scan_id = scan.scan_id if scan else ""
        aside += [("reports", report.row, scan_id, fault, *_CELL_REASONS[fault]) for fault in report.faults]
        if scan is None:
            aside.append(("reports", report.row, "", code, *_REPORT_REASONS[code]))
            continue
        days = days_between(scan, report)
        found = {"report_row": report.row, "report_label": report.label, "report_days": "" if days is None else days}
        scans.put(scan.scan_id, found | {"primary_cancer": report.primary})
    return aside


def _written(
    journal: Journal, of_reports: list[tuple[Any, ...]], manifest: Path, quarantine: Path, *, n_reports: int
) -> Outcome:  # fmt: skip
    """Writes the tables and counts what they hold."""
    tally = journal.tally()
    n_scans, n_patients = journal.scans.counts()
    aside = ((file, "", *rest) for file, *rest in journal.quarantined())
    n_aside = write_aside(quarantine, chain(aside, of_reports), manifest, file_flow(tally))
    unlinked = sum(code in _REPORT_REASONS for _, _, _, code, *_ in of_reports)
    if n_scans:
        write_manifest_rows(manifest, HEADER, journal.scans.rows())
    _remove_unused(journal, manifest.parent)
    return Outcome(
        manifest, quarantine, n_scans, n_patients,
        {end: sum(n for e, _, n in tally if e == end) for end in ("used", "quarantined", "ignored")},
        {code: n for end, code, n in tally if end == "ignored"},
        (n_reports, n_reports - unlinked), n_aside,
    )  # fmt: skip


def _remove_unused(journal: Journal, out: Path) -> None:
    """Removes the images of files that ended in quarantine."""
    for image in (out / IMAGES).glob("??/*_*.*"):
        if not journal.uses(image.name.split("_")[0], image.relative_to(out).as_posix()):
            image.unlink()


def _write_links(journal: Journal, path: Path) -> None:
    """Writes which file is behind which pseudonym, for the owner of the key only."""
    with private_files():
        rows = (map(_inert, row) for row in journal.links())
        write_rows(path, ("file", "path", "end", "scan_id", "code"), map(list, rows))


def _inert(cell: str) -> str:
    return cell.encode("utf-8", "backslashreplace").decode("utf-8")
