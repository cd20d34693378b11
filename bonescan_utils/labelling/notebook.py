"""Notebook: image review in notebooks: the panel, agreement, and the small notebook that `bonescan review` opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bonescan_utils.files import write_json
from bonescan_utils.labelling.adjudication import image_review, report_labels, settle
from bonescan_utils.labelling.agreement import agreement_table, disagreements, reviewed_sample
from bonescan_utils.labelling.readings import (
    LOG,
    check_reader,
    current_decisions,
    current_readings,
    read_log,
    reading_matrix,
)
from bonescan_utils.labelling.review import ReviewPanel
from bonescan_utils.loading import load_scan
from bonescan_utils.manifest import read_manifest
from bonescan_utils.scan import Scan
from bonescan_utils.viewer.widget import has_front_end


def manifest_panel(
    manifest: str | Path, *, log: str | Path, reader: str, scan_ids: Sequence[str] = (), adjudicate: bool = False
) -> ReviewPanel:
    """Returns the panel of a manifest's scans; of the manifest, only the paths and pixel sizes reach it.

    Args:
        manifest: The manifest.
        log: The log of readings.
        reader: Code name of the reader; '' for nobody.
        scan_ids: The scans to read; all if none are given.
        adjudicate: The readings settle disagreements.
    """
    df = read_manifest(manifest, labelled=False)
    chosen = list(scan_ids) if len(scan_ids) or adjudicate else list(df["scan_id"])
    return ReviewPanel(
        chosen, _loader(df, Path(manifest).parent), log=log, reader=reader, adjudicate=adjudicate
    )  # fmt: skip


def cohort_panel(cohort: pd.DataFrame, root: str | Path, *, reader: str, n_review: int, seed: int) -> ReviewPanel:
    """Returns the panel of a random sample of a cohort, the same for all readers; a note where nobody looks on.

    Args:
        cohort: scan_id, patient_id, anterior, posterior.
        root: The folder that its paths are relative to; the readings are in `review/` there.
        reader: Code name of the reader; '' for nobody.
        n_review: Scans of the sample; whole patients.
        seed: Seed of the sample.
    """
    sample = reviewed_sample(list(cohort["scan_id"]), list(cohort["patient_id"]), n_review, seed=seed)
    who = reader if has_front_end() else ""
    return ReviewPanel(sample, _loader(cohort, Path(root)), log=Path(root) / LOG, reader=who)


def cohort_agreement(cohort: pd.DataFrame, root: str | Path, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the agreement of the readings so far, and the disagreements; empty tables before there is any.

    Args:
        cohort: scan_id, patient_id, and `report_label` if known; readings of other scans are left aside.
        root: The folder of the manifest.
        seed: Seed of the resamples.
    """
    log, ids = read_log(Path(root) / LOG), cohort["scan_id"]
    readings, decisions = (
        table[table["scan_id"].isin(ids)] for table in (current_readings(log), current_decisions(log))
    )
    reports = report_labels(cohort)
    settled = settle(ids, readings=readings, decisions=decisions, reports=reports)
    patients = pd.Series(cohort["patient_id"].to_numpy(), index=pd.Index(ids))
    matrix, reviewed = reading_matrix(readings), image_review(settled)
    table = agreement_table(matrix, patients, reports=reports, reviewed=reviewed, seed=seed)
    return table, disagreements(matrix, reports=reports)


def _loader(df: pd.DataFrame, root: Path) -> Callable[[str], Scan]:
    """Returns what loads a scan by its id; of the table, only the paths and the pixel size of the images are kept."""
    kept = ["scan_id", "anterior", "posterior", "pixel_mm_row", "pixel_mm_column"]
    rows = df[[name for name in kept if name in df]].to_dict("records")
    files = {row["scan_id"]: {str(name): cell for name, cell in row.items()} for row in rows}
    return lambda scan_id: load_scan(files[scan_id], root)


def patients_of(manifest: str | Path) -> pd.Series:
    """Returns the patient of each scan of a manifest, indexed by `scan_id`."""
    df = read_manifest(manifest, labelled=False)
    return pd.Series(df["patient_id"].to_numpy(), index=pd.Index(df["scan_id"]))


def write_review_notebook(
    path: str | Path, *, manifest: str | Path, log: str | Path, reader: str, scan_ids: Sequence[str] = ()
) -> Path:
    """Writes the notebook for one reader; `reader` and the sample stand in its first cell.

    Raises:
        LabelError: The code name of the reader will not do.
    """
    check_reader(reader)
    cells = [
        _text(
            "# Image review\n\nRun the first two code cells. Read each scan on its images alone: mark the"
            " lesion regions, then choose"
            " *abnormal* (metastasis), *normal* or *unsure*. Every click is saved at once; close the notebook whenever"
            " you like and go on later."
        ),
        _code(
            f"manifest = {str(Path(manifest).resolve())!r}\nlog = {str(Path(log).resolve())!r}\nreader = {reader!r}\n"
            f"scan_ids = {list(scan_ids)!r}  # none: all scans of the manifest"
        ),
        _code(
            "from bonescan_utils.labelling import agreement, notebook, readings\n\n"
            "notebook.manifest_panel(manifest, log=log, reader=reader, scan_ids=scan_ids)"
        ),
        _text(
            "## Agreement\n\nOnce two readers have read. It shows the others' readings: run it after your own are done."
        ),
        _code(
            "matrix = readings.reading_matrix(readings.current_readings(readings.read_log(log)))\n"
            "agreement.agreement_table(matrix, notebook.patients_of(manifest), seed=2022)"
        ),
        _code("agreement.disagreements(matrix)"),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(cells):
        cell["id"] = f"review-{number}"
    write_json(path, {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    return Path(path)


def _text(source: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str) -> dict[str, object]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
