"""Predict: unlabelled files, scored by a model of a finished run, with a picture of what it rests on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import read_csv, write_csv, write_json
from bonescan_utils.loading import load_file
from bonescan_utils.profiles import StudyError
from bonescan_utils.scan import Scan, ScanError, require_quality
from bonescan_utils.screen import quiet_stderr
from bonescan_utils.study import Run

NOTICE = "Research use only: not a medical device, not for diagnosis."
COLUMNS = ["scan_id", "file", "status", "y_score", "threshold", "y_pred", "views", "warnings", "reason"]
BATCH = 16
"""Scans that are read, scored and written at a time."""


def predict_files(inputs: Sequence[Path], *, run: Path, arm: str, out: Path) -> pd.DataFrame:
    """Score files, each a scan of its own, and write one JSON and one PNG per scan and `summary.csv`.

    A file that cannot be used is listed with its reason; the others are scored all the same.

    Args:
        inputs: Files, or folders whose files are all taken.
        run: The folder of a finished run.
        arm: The arm whose model is used.
        out: The folder to write to.

    Returns:
        One row per file: scan_id, file, status (`scored` or `unusable`), y_score, threshold, y_pred, views,
        warnings, reason.

    Raises:
        StudyError: An input is not there, there is none, or the run has no such model.
    """
    model, threshold, layout = _model(run, arm)
    files = list(_files(inputs))
    if not files:
        raise StudyError(f"no file in {', '.join(map(str, inputs))}")
    rows: list[dict[str, Any]] = []
    names = _names(files)
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        rows += _predict_batch(batch, names, model=model, threshold=threshold, layout=layout, out=out)
    summary = pd.DataFrame(rows, columns=COLUMNS)
    write_csv(out / "summary.csv", summary)
    return summary


def _predict_batch(
    files: Sequence[Path], names: dict[Path, str], *, model: Path, threshold: float, layout: str, out: Path
) -> list[dict[str, Any]]:
    """Read, score and write some files; return their rows of the summary in order."""
    rows = {path: {"scan_id": names[path], "file": path.name} for path in files}
    scans: dict[Path, Scan] = {}
    for path in files:
        try:
            scans[path] = _usable(path, names[path], layout)
        except ScanError as error:
            rows[path] |= {
                "status": "unusable",
                "reason": f"{error.reason} [{error.code}] {error.hint}".strip(),
            }
    if scans:
        with quiet_stderr():
            import tensorflow as tf

            from bonescan_utils.explanation import explain

            tf.config.list_physical_devices()  # where there is no GPU, looking for one is logged at length

        for path, item in zip(scans, explain(model, list(scans.values()), layout=layout), strict=True):
            rows[path] |= _write_result(item, model=model, threshold=threshold, out=out, file=path.name)
    return list(rows.values())


def _usable(path: Path, scan_id: str, layout: str) -> Scan:
    """Return the scan in a file, checked as the study's own scans are; its warnings tell what is doubtful."""
    from bonescan_utils.preprocessing import prepare

    scan = load_file(path, scan_id=scan_id)
    doubts = require_quality(scan)
    prepare(scan, layout=layout, size=(64, 64))  # says now whether a body is found
    return Scan(scan.scan_id, scan.anterior, scan.posterior, (*scan.warnings, *doubts))


def _write_result(item: Any, *, model: Path, threshold: float, out: Path, file: str) -> dict[str, Any]:
    """Write the JSON and the picture of a scored scan; return its row of the summary."""
    from bonescan_utils.explanation import overlay_cases
    from bonescan_utils.figures import plot_overlays, save_figure
    from bonescan_utils.models import model_record

    record, scan = model_record(model), item.scan
    called = item.y_score >= threshold
    sources = {view.name: view.view_source for view in scan.views}
    result = {
        "notice": NOTICE, "scan_id": scan.scan_id, "file": file, "y_score": item.y_score,
        "threshold": threshold, "y_pred": int(called), "views": sources, "warnings": list(scan.warnings),
        "counts": {view.name: view.total for view in scan.views},
        "saliency": {"method": "gradcam", "layers": record["explained_layers"], "raw_max": item.raw_max},
        "model": {"arm": record["arm"]["name"], "sha256": record["sha256"], "weights": record["weights"]},
    }  # fmt: skip
    word = f"score {item.y_score:.2f} ({'at or above' if called else 'below'} the threshold {threshold:.2f})"
    figure = plot_overlays(overlay_cases([item], [""]), columns=1, note=f"{file}: {word}. {NOTICE}")
    save_figure(figure, out / scan.scan_id)
    write_json(out / f"{scan.scan_id}.json", result)
    return {
        "status": "scored", "y_score": item.y_score, "threshold": threshold, "y_pred": int(called),
        "views": "/".join(sources), "warnings": "; ".join(scan.warnings), "reason": "",
    }  # fmt: skip


def _model(folder: Path, arm: str) -> tuple[Path, float, str]:
    """Return the model of an arm, its threshold from the tuning scans, and the layout of its images."""
    from bonescan_utils.evaluation import choose_threshold

    model = folder / "models" / f"{arm}.keras"
    if not model.is_file():
        there = ", ".join(sorted(path.stem for path in (folder / "models").glob("*.keras"))) or "none"
        raise StudyError(f"run {folder.name} has no model of arm {arm!r}; it has: {there}. Train it: bonescan run")
    scores = read_csv(folder / "arms" / arm / "predictions.csv")
    tuning = scores[scores["partition"] == "tuning"]
    layout = Run(folder, "predict").notes.get("layout", "side_by_side")
    return model, choose_threshold(tuning["y_true"], tuning["y_score"]), str(layout)


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


def _names(files: Sequence[Path]) -> dict[Path, str]:
    """Return an id for each file, made of its name and fit to be a file name; equal ones are numbered."""
    names: dict[Path, str] = {}
    for path in files:
        stem = re.sub(r"[^\w.-]+", "_", path.stem).strip("._")[:48] or "scan"
        taken, name, number = set(names.values()), stem, 2
        while name in taken or name == "summary":
            name, number = f"{stem}_{number}", number + 1
        names[path] = name
    return names
