"""Predict: unlabelled files, scored by a model of a finished run, with a picture of what it rests on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from bonescan_utils.files import read_csv, read_json, write_csv
from bonescan_utils.finding import NOTICE, Finding
from bonescan_utils.ingest.keys import private_files
from bonescan_utils.loading import load_file
from bonescan_utils.lock import run_lock
from bonescan_utils.model_record import model_record
from bonescan_utils.preprocessing import LAYOUTS, prepare
from bonescan_utils.profiles import StudyError
from bonescan_utils.results import Job, dicom_files, make_job, read_whole, require_writable, write_result
from bonescan_utils.run_model import RunModel, find_model
from bonescan_utils.scan import Scan, ScanError, require_quality
from bonescan_utils.screen import quiet_stderr
from bonescan_utils.temporaries import remove_stale

if TYPE_CHECKING:  # of the extra `pacs`
    from bonescan_utils.explanation import Explained
    from bonescan_utils.pacs.store import Node

__all__ = ["COLUMNS", "NOTICE", "links_file", "predict_files", "send_results"]

COLUMNS = """
    scan_id file status y_score probability threshold y_pred views warnings reason dicom kept
""".split()
BATCH = 16
"""Scans that are read, scored and written at a time."""


def predict_files(
    inputs: Sequence[Path], *, arm: str, out: Path, run: Path | None = None, trust: str = "", dicom: bool = False,
    progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Score files, each a scan of its own, and write a JSON and pictures per scan, and `summary.csv`.

    Nothing in `out` holds the name of a file; which file is behind which scan stands in `links_file(out)`.

    A file that cannot be used is listed with its reason; the others are scored all the same. A scan whose results are
    whole, and are of the same file, model and settings, is kept and not scored again: a run that was cut short is
    resumed by the same call. Files with the same bytes are one scan, and share its results.

    Args:
        inputs: Files, or folders whose files are all taken.
        arm: Name of the arm whose model is used, or the path of a model, `RUN/models/NAME.keras`.
        out: The folder to write to; not one that holds scans.
        run: The folder of a finished run; not needed beside the path of a model.
        trust: Why a model that the run does not have on record may be used; '' to refuse it. It stands in every JSON.
        dicom: Also write a DICOM Secondary Capture of each view and a Structured Report.
        progress: Show a progress bar.

    Returns:
        One row per file: scan_id (a hash of its bytes), file, status (`scored` or `unusable`), y_score, probability
        (calibrated; empty where the run has no recalibration), threshold, y_pred, views, warnings, reason, dicom
        (`written`, why not, or empty where not asked for), kept (whether it was done before).

    Raises:
        StudyError: An input is not there, there is none, the run has no such model, `out` cannot be used or is held by
            another call, or the package for `dicom` is not installed.
        ModelError: The model is not the file that the run made.
    """
    model = find_model(arm, run, trust=trust)
    files = list(_files(inputs))
    if not files:
        raise StudyError(f"no file in {', '.join(map(str, inputs))}")
    if dicom:
        from bonescan_utils.pacs import require_pacs

        require_pacs("highdicom", option="--dicom")
    require_writable(out, inputs)
    with run_lock(out, option="--out"):
        _remove_leftovers(out)
        return _predicted(files, model, out, dicom=dicom, progress=progress)


def _predicted(files: Sequence[Path], model: RunModel, out: Path, *, dicom: bool, progress: bool) -> pd.DataFrame:
    """Score files and write the results, the summary and the table of links; return the summary, `file` in it."""
    record = model_record(model.path)
    made_by = _made_by(model, str(record["sha256"]))
    jobs = [
        make_job(path, made_by=made_by, dicom=dicom)
        for path in tqdm(files, "hash", unit="file", disable=not progress, leave=False)
    ]
    rows = _work(list({job.scan_id: job for job in jobs}.values()), model, record, out, progress=progress)
    summary = pd.DataFrame([{**rows[job.scan_id], "file": job.path.name} for job in jobs], columns=COLUMNS)
    summary["y_pred"] = summary["y_pred"].astype("Int64")  # 0, 1 or empty
    write_csv(out / "summary.csv", summary.drop(columns="file"))
    _write_links(jobs, out)
    return summary


def _remove_leftovers(out: Path) -> None:
    """Remove what killed calls left half written, the names of files beside the results among it."""
    remove_stale(out)
    remove_stale(links_file(out).parent, deep=False)


def links_file(out: Path) -> Path:
    """Return the table that tells which file is behind which scan: beside the folder of the results, not in it."""
    return out.absolute().with_name(f"{out.absolute().name}.links.csv")


def _write_links(jobs: Sequence[Job], out: Path) -> None:
    """Write which file is behind which scan, readable to its owner only: names of files may name patients."""
    rows = [(job.scan_id, os.fspath(job.path).encode("utf-8", "backslashreplace").decode()) for job in jobs]
    with private_files():
        write_csv(links_file(out), pd.DataFrame(rows, columns=["scan_id", "file"]))


def send_results(out: Path, node: Node) -> pd.DataFrame:
    """Send the DICOM objects of all scans in the summary to a node, and note in it what became of them.

    Args:
        out: The folder of `predict_files`.
        node: Where to.

    Returns:
        The summary with the column `sent`: `stored`, the node's reason, or empty where there was nothing to send.

    Raises:
        StoreError: The node cannot be reached, or refused some objects. The files are kept.
    """
    from bonescan_utils.pacs.store import StoreError, send_files

    path = out / "summary.csv"
    summary = read_csv(path)
    scored = sorted(set(summary.loc[summary["status"] == "scored", "scan_id"]))
    files = {name: dicom_files(read_json(out / f"{name}.json"), out) for name in scored}
    kept = f"The files are kept in {out}; the same command sends them again."
    try:
        due = [file for found in files.values() for file in found]
        refused = send_files(due, node) if due else {}
    except StoreError as error:
        raise StoreError(f"{error}. {kept}") from error
    said = {
        name: next((refused[file] for file in found if refused[file]), "stored")
        for name, found in files.items()
        if found
    }
    summary["sent"] = summary["scan_id"].map(said).fillna("")
    write_csv(path, summary)
    wrong = [reason for reason in refused.values() if reason]
    if wrong:
        raise StoreError(f"{len(wrong)} of {len(refused)} objects were not stored by {node}: {wrong[0]}. {kept}")
    return summary


def _work(
    jobs: Sequence[Job], model: RunModel, record: Mapping[str, Any], out: Path, *, progress: bool
) -> dict[str, dict[str, Any]]:
    """Keep what is whole, score the rest in batches; return each scan's row of the summary."""
    rows: dict[str, dict[str, Any]] = {}
    with tqdm(total=len(jobs), desc="predict", unit="scan", disable=not progress) as bar:
        due = []
        for job in jobs:
            if whole := read_whole(job, out):
                rows[job.scan_id] = _row(whole, kept=True)
                bar.update()
            else:
                due.append(job)
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            rows |= _predict_batch(batch, model, record, out)
            bar.update(len(batch))
    return rows


def _predict_batch(
    jobs: Sequence[Job], model: RunModel, record: Mapping[str, Any], out: Path
) -> dict[str, dict[str, Any]]:
    """Read, score and write some scans; return their rows of the summary."""
    rows: dict[str, dict[str, Any]] = {}
    scans: dict[str, Scan] = {}
    for job in jobs:
        try:
            scans[job.scan_id] = _usable(job, model.layout)
        except ScanError as error:
            reason = f"{error.reason} [{error.code}] {error.hint}".strip()
            rows[job.scan_id] = {"scan_id": job.scan_id, "status": "unusable", "reason": reason, "kept": False}
    if scans:
        with quiet_stderr():  # where there is no GPU, looking for one is logged at length
            from bonescan_utils.explanation import explain

            explained = explain(model.path, list(scans.values()), layout=model.layout)
        by_id = {job.scan_id: job for job in jobs}
        for item in explained:
            finding = _finding(item, model, str(record["sha256"]))
            written = write_result(by_id[item.scan.scan_id], item, finding, out, model=record)
            rows[item.scan.scan_id] = _row(written, kept=False)
    return rows


def _usable(job: Job, layout: str) -> Scan:
    """Return the scan of a job, checked as the study's own scans are; its warnings tell what is doubtful."""
    scan = load_file(job.path, scan_id=job.scan_id)
    doubts = require_quality(scan)
    prepare(scan, layout=layout, size=(64, 64))  # says now whether a body is found
    return Scan(scan.scan_id, scan.anterior, scan.posterior, (*scan.warnings, *doubts))


def _finding(item: Explained, model: RunModel, sha256: str) -> Finding:
    """Return what the model says of a scored scan."""
    there = tuple(item.prepared.placements)
    missing = tuple(view for view in LAYOUTS[model.layout] if view not in there)
    return Finding(model, sha256, item.y_score, there, missing, item.raw_max, item.scan.warnings)


def _row(record: Mapping[str, Any], *, kept: bool) -> dict[str, Any]:
    """Return the row of the summary that a scan's JSON gives."""
    dicom = record["dicom"]
    return {
        "scan_id": record["scan_id"], "status": "scored", "y_score": record["y_score"],
        "probability": record["probability"], "threshold": record["threshold"], "y_pred": record["y_pred"],
        "views": "/".join(record["views"]), "warnings": "; ".join(record["warnings"]), "reason": "",
        "dicom": dicom.get("reason", "written") if dicom else "", "kept": kept,
    }  # fmt: skip


def _made_by(model: RunModel, sha256: str) -> dict[str, Any]:
    """Return what a result follows from beside its file, as plain values."""
    known = asdict(model)
    return {"model": sha256, **{name: known[name] for name in known if name != "path"}}


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    """Give the files among the inputs and in their folders, hidden ones left out, each once."""
    seen: set[str] = set()
    for given in inputs:
        if not given.exists():
            raise StudyError(f"{given}: no such file or folder")
        found = sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
        for path in found:
            hidden = any(part.startswith(".") for part in path.relative_to(given).parts)
            if not hidden and os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                yield path
