"""RunModel: a model of a finished run with all that the run knows of it: threshold, operating point, hashes.

No TensorFlow: what is here is read from the run's tables and records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bonescan_utils.files import read_csv
from bonescan_utils.model_record import ModelError, check_archive, model_record
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import RECORD, read_record, recorded_sha256
from bonescan_utils.study import Run

RECALIBRATION = "tables/recalibration.csv"
METRICS = "tables/metrics.csv"
EDGE = 1e-6
"""A score is kept this far from 0 and 1 before its logit is taken."""


@dataclass(frozen=True)
class Recalibration:
    """A logistic recalibration of an arm's scores, fitted on the tuning scans.

    Attributes:
        slope: Factor on the score's logit.
        intercept: Added to it.
    """

    slope: float
    intercept: float

    def probability(self, y_score: float) -> float:
        """Return the calibrated probability, 0-1, of a score, 0-1.

        Source: Platt 1999, in the form of Cox 1958: logit(p) = intercept + slope * logit(score).
        """
        score = float(np.clip(y_score, EDGE, 1 - EDGE))
        logit = self.intercept + self.slope * math.log(score / (1 - score))
        return float((1 + math.tanh(logit / 2)) / 2)


@dataclass(frozen=True)
class RunModel:
    """A model of a run.

    Attributes:
        path: Its `.keras` file.
        arm: The arm it was trained as.
        run: Name of the run.
        layout: Layout of its images.
        threshold: Chosen on the tuning scores; `y_score >= threshold` calls metastasis.
        recalibration: How a score becomes a probability; None where the run has none.
        operating_point: Sensitivity and specificity on the test scans, each with estimate, ci_low, ci_high, method, n.
        manifest: Name and sha256 of the manifest that the run was made from.
        override: Why a model that its run does not have on record is used all the same: reason, recorded_sha256; empty
            for a model of the run.
        missing: What of these the run does not have -> why.
    """

    path: Path
    arm: str
    run: str
    layout: str
    threshold: float
    recalibration: Recalibration | None
    operating_point: Mapping[str, Mapping[str, Any]]
    manifest: Mapping[str, Any]
    missing: Mapping[str, str]
    override: Mapping[str, str] = field(default_factory=dict)

    def probability(self, y_score: float) -> float | None:
        """Return the calibrated probability of a score, 0-1; None where the run has no recalibration."""
        return self.recalibration.probability(y_score) if self.recalibration else None


def find_model(arm: str, run: Path | None = None, *, trust: str = "") -> RunModel:
    """Find a model, check that it is the one its run made, and read what its run knows of it.

    Args:
        arm: Name of an arm of the run, or the path of a model, `RUN/models/NAME.keras`.
        run: Folder of the run; not needed beside a path.
        trust: Why a model that the run does not have on record may be used; '' to refuse it. Its file must still be
            whole, and hold no code.

    Raises:
        ModelError: The file is not the one that the run made.
        StudyError: There is no such run or model, the path is not that of a model in a run, or the run has no
            tuning scores of it.
    """
    folder, name = _run_and_arm(arm, run)
    path = folder / "models" / f"{name}.keras"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in (folder / "models").glob("*.keras"))) or "none"
        raise StudyError(f"run {folder.name} has no model of arm {name!r}; it has: {there}. Train it: bonescan run")
    override = _trusted(path, folder, trust)
    recalibration, no_recalibration = _recalibration(folder, name)
    operating_point, no_point = _operating_point(folder, name)
    record = read_record(folder) if (folder / RECORD).is_file() else {}
    missing = {"recalibration": no_recalibration, "operating_point": no_point}
    return RunModel(
        path=path, arm=name, run=folder.name, layout=str(Run(folder, "predict").notes.get("layout", "side_by_side")),
        threshold=_threshold(folder, name), recalibration=recalibration, operating_point=operating_point,
        manifest={key: record.get("manifest", {}).get(key) for key in ("name", "sha256")},
        missing={what: why for what, why in missing.items() if why}, override=override,
    )  # fmt: skip


def _run_and_arm(arm: str, run: Path | None) -> tuple[Path, str]:
    """Return the folder of the run and the name of the arm."""
    if not arm.endswith(".keras"):
        if run is None:
            raise StudyError(f"arm {arm!r} of which run? Name it: --run NAME, or give --arm RUN/models/{arm}.keras")
        return run, arm
    path = Path(arm)
    folder = path.absolute().parent.parent
    if path.absolute().parent.name != "models":
        raise StudyError(f"{arm}: expected a model in the folder of its run, RUN/models/{path.name}")
    if run is not None and run.resolve() != folder.resolve():
        raise StudyError(f"{arm} is a model of run {folder.name}, not of {run.name}: leave out --run")
    return folder, path.stem


def _trusted(path: Path, folder: Path, trust: str) -> dict[str, str]:
    """Check a model against its run before anything opens it; return the override if one was needed."""
    found = str(model_record(path)["sha256"])
    check_archive(path)
    recorded = recorded_sha256(folder, f"models/{path.name}")
    if found == recorded:
        return {}
    if trust:
        return {"reason": trust, "recorded_sha256": recorded}
    known = (
        f"expected sha256 {recorded}, found {found}" if recorded else f"the run has no such file on record ({found})"
    )
    raise ModelError(
        f"{path}: not a trusted model of run {folder.name}; {known}. A model is a program: train the arm again, or say"
        " why this one is to be trusted (--trust-model REASON), which is written into every result"
    )


def _threshold(folder: Path, arm: str) -> float:
    """Return the threshold of an arm, chosen on its tuning scores only."""
    from bonescan_utils.evaluation import choose_threshold

    path = folder / "arms" / arm / "predictions.csv"
    if not path.is_file():
        where = f"run {folder.name}: arms/{arm}/predictions.csv is not there"
        raise StudyError(f"{where}; the threshold is chosen on its tuning scores. Finish the run: bonescan run")
    scores = read_csv(path)
    tuning = scores[scores["partition"] == "tuning"]
    return choose_threshold(tuning["y_true"], tuning["y_score"])


def _recalibration(folder: Path, arm: str) -> tuple[Recalibration | None, str]:
    """Return the recalibration of an arm, or None and why there is none."""
    path = folder / RECALIBRATION
    if not path.is_file():
        return None, f"run {folder.name} has no {RECALIBRATION}"
    table = read_csv(path, numbers=("slope", "intercept"))
    rows = table[(table["arm"] == arm) & (table["method"].str.lower() == "platt")]
    if len(rows) != 1 or not np.isfinite(rows[["slope", "intercept"]].to_numpy()).all():
        return None, f"{RECALIBRATION} of run {folder.name} has no Platt recalibration of arm {arm}"
    return Recalibration(float(rows["slope"].iloc[0]), float(rows["intercept"].iloc[0])), ""


def _operating_point(folder: Path, arm: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Return sensitivity and specificity on the test scans with their intervals, or nothing and why."""
    path = folder / METRICS
    if not path.is_file():
        return {}, f"run {folder.name} has no {METRICS}"
    table = read_csv(path, numbers=("estimate", "ci_low", "ci_high"))
    rows = table[(table["arm"] == arm) & table["metric"].isin(["sensitivity", "specificity"])]
    columns = ["estimate", "ci_low", "ci_high", "method", "n"]
    found = {str(row["metric"]): {name: row[name] for name in columns} for _, row in rows.iterrows()}
    return found, "" if len(found) == 2 else f"{METRICS} of run {folder.name} has no operating point of arm {arm}"
