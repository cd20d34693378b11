"""A run folder made up for the tests of the report: few tables, one picture, and texts that mean harm if asked to."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from test_evaluation import make_predictions

from bonescan_utils import evaluation
from bonescan_utils.files import sha256_file, write_csv, write_json
from bonescan_utils.operating_points import roc_band_table

ARMS = ["proposed", "resnet50"]
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png onerror=alert(1)>$\\frac$"
SHA = "0" * 64


def make_record(**changes: Any) -> dict[str, Any]:
    """Returns a run.json of two arms, one of them from random weights."""
    config = {
        "profile": "quick", "run": "made_up", "manifest": "m.csv",
        "seed": 7, "n_scans": 0, "layout": "side_by_side", "image_height": 192,
        "image_width": 96, "arm": "proposed", "arms": ARMS, "folds": 0, "seeds": 1, "n_boot": 100,
    }  # fmt: skip
    manifest = {"name": "m.csv", "sha256": SHA, "scans": 60, "patients": 60, "with_metastasis": 30}
    weights = {"proposed": {"weights": "imagenet-int8", "note": "n"}, "resnet50": {"weights": "random", "note": ""}}
    hardware = {"system": "Linux", "machine": "x86_64", "processor": "made up", "cores": 2, "memory_bytes": 8 << 30}
    environment = {
        "versions": {"python": "3.11.7"}, "git": {"revision": "a" * 40, "modified": False}, "code_sha256": SHA,
        "hardware": hardware, "onednn": {"setting": "default"}, "flags": {}, "platform": "linux",
    }  # fmt: skip
    record = {
        "record_version": 1, "started": "2026-01-02T03:00:00+00:00", "steps": [], "parent": None,
        "run": "made_up", "status": "finished", "config": config, "manifest": manifest, "weights": weights,
        "environment": environment, "notes": {"synthetic": True, "copies": 1}, "finished": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return record | changes


def make_cohort(*, primary: str = "breast") -> pd.DataFrame:
    """Returns sixty scans in three partitions."""
    columns = {
        "scan_id": [f"s{i:04d}" for i in range(60)], "patient_id": [f"p{i:04d}" for i in range(60)],
        "metastasis": [0, 1] * 30, "partition": ["train"] * 40 + ["tuning"] * 8 + ["test"] * 12, "sex": "F",
        "age": 60.0, "primary_cancer": primary, "site": "A", "scanner": primary, "label_source": primary,
    }  # fmt: skip
    return pd.DataFrame(columns)


def make_run(folder: Path, *, hostile: bool = False, **changes: Any) -> Path:
    """Writes a run folder and returns it; `changes` are made to its record."""
    bad = HOSTILE if hostile else "breast"
    write_json(folder / "run.json", make_record(**changes))
    write_csv(folder / "cohort.csv", make_cohort(primary=bad))
    for name, table in make_tables(bad).items():
        write_csv(folder / "tables" / f"{name}.csv", table)
    (folder / "figures").mkdir()
    grey = np.arange(120, dtype=np.uint8)[None, :].repeat(80, axis=0)
    Image.fromarray(grey).save(folder / "figures" / "montage.png")
    return folder


def make_tables(bad: str) -> dict[str, pd.DataFrame]:
    """Returns the tables of the made-up run; `bad` stands where a text of the manifest would."""
    predictions, thresholds = make_predictions(60, arms=ARMS), dict.fromkeys(ARMS, 0.5)
    metrics = evaluation.metrics_table(predictions, thresholds, seed=0, n_boot=100)
    mine = predictions[predictions["arm"] == "proposed"]
    steps = [("Scans in the manifest", 61, 0, ""), ("Usable images", 60, 1, f"1 {bad}")]
    groups = [("proposed", bad, np.nan, np.nan, np.nan, "", 4, 2, "too few to say")]
    return {
        "flow": pd.DataFrame(steps, columns=["step", "n", "excluded", "reason"]),
        "metrics": metrics,
        "metrics_proposed": metrics[metrics["arm"] == "proposed"],
        "roc_proposed": evaluation.roc_table(mine),
        "roc_band_proposed": roc_band_table(mine, seed=0, points=5, n_boot=100),
        "confusion_proposed": evaluation.confusion_table(mine, thresholds),
        "auroc_by_site": pd.DataFrame(
            groups, columns=["arm", "group", "estimate", "ci_low", "ci_high", "method", "n", "n_positive", "note"]
        ),
        "trivial_predictions": mine,
        "unheard_of": pd.DataFrame({"what": [bad], "n": [3]}),
    }


def put_model(path: Path, *, config: Any = None, **members: bytes) -> dict[str, Any]:
    """Writes an archive in the form of a `.keras` file, and its record; returns the hash for the run's record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"metadata.json": b"{}", "config.json": json.dumps(config or {}).encode(), "model.weights.h5": b""} | members
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    found = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_json(path.with_suffix(".json"), {"sha256": found["sha256"]})
    return found
