"""A study of many small scans from files to report: memory, open files and time by the number of scans.

    python tests/bench/bench_soak.py [--n 2000,20000] [--jobs 2]

Two-view DICOM files of 64 x 16, every second one with a hot spot and the label 1: ingest, the cohort read and checked,
image store, features of VGG16 with random weights at 64 x 32, a cross-validation of two folds, tables and the page
of the report. Each number of scans is worked on by a process of its own, stage after stage. Of each stage: processor
time a scan (must stay the same), peak memory above that of the start, open files after it (must stay the same).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from bench_dicom_ingest import Peak, end_workers, make, spent
from fabricated_run import make_record
from record import record

from bonescan_utils import evaluation
from bonescan_utils.cohort import ingest
from bonescan_utils.crossval import fold_table, out_of_fold, pooled_metrics
from bonescan_utils.files import read_text_csv, write_csv, write_json
from bonescan_utils.image_store import ImageStore, build_store
from bonescan_utils.ingest import ingest_folder
from bonescan_utils.manifest import read_manifest
from bonescan_utils.partitions import fold_partitions

SIZE, FOLDS, SEED = (64, 32), 2, 1


class Soak:
    """The stages of one study, in a folder; what one leaves, the next one takes."""

    def __init__(self, base: Path, n: int, jobs: int) -> None:
        self.base, self.n, self.options = base / "study", n, {"n_jobs": jobs, "progress": False}
        self.pacs, self.key = base / "pacs", base / "keys" / "k"
        self.pacs.mkdir()
        self.cohort, self.store, self.found = pd.DataFrame(), ImageStore.__new__(ImageStore), pd.DataFrame()
        make(self.pacs, n, rows=64, columns=16, spots=True)

    def ingest(self) -> None:
        """Files to manifest, labels by the names of the files."""
        out = self.base / "m.csv"
        ingest_folder(self.pacs, out, key_file=self.key, **self.options)
        (links,) = self.key.parent.glob("*.links.csv")
        table = read_text_csv(links)
        labels = {row["scan_id"]: int(row["path"][-6:]) % 2 for row in table.to_dict("records")}
        df = read_manifest(out, labelled=False)
        self.cohort = df.assign(metastasis=df["scan_id"].map(labels).astype("int64"))

    def read(self) -> None:
        """The cohort read and checked, as by notebook 01."""
        self.cohort = ingest(self.cohort, self.base, **self.options).used.assign(partition="train")
        if len(self.cohort) != self.n:
            raise RuntimeError(f"{len(self.cohort)} of {self.n} scans are used")

    def images(self) -> None:
        """The image store."""
        self.store = build_store(self.cohort, self.base, self.base / "store", size=SIZE, **self.options)

    def fits(self) -> None:
        """Features, and a fit of each fold."""
        from bonescan_utils.arms import get_arm
        from bonescan_utils.features import features
        from bonescan_utils.transfer import fit
        from bonescan_utils.weights import resolve_weights

        arm = get_arm("vgg16")
        source = resolve_weights(arm.backbone, weights="random")
        made = features(self.store, arm, source=source, out_dir=self.base / "features", progress=False, batch=64)
        scores = []
        for fold in range(FOLDS):
            part = fold_partitions(self.cohort, folds=FOLDS, fold=fold, seed=SEED)
            labels = self.cohort["metastasis"].to_numpy()
            fitted = fit(arm, made, labels, part.to_numpy(), seed=SEED, progress=False)
            told = self.cohort[["scan_id", "patient_id"]].assign(
                arm=arm.name, partition=part, y_true=labels, y_score=fitted.predict(made)
            )
            scores.append((fold, 0, told[part != "train"]))
        self.found = out_of_fold(scores)

    def report(self) -> None:
        """Tables and the page of the report."""
        from bonescan_utils.reporting.page import write_report

        run = self.base / "run"
        predictions, thresholds = self.found.drop(columns="threshold"), {"vgg16": 0.5}
        metrics = evaluation.metrics_table(predictions, thresholds, seed=SEED)
        tables = {
            "metrics": metrics,
            "roc": evaluation.roc_table(predictions),
            "confusion": evaluation.confusion_table(predictions, thresholds),
            "cv_folds": fold_table(self.found),
            "cv_metrics": pooled_metrics(self.found, seed=SEED),
        }
        for name, table in tables.items():
            write_csv(run / "tables" / f"{name}.csv", table)
        write_csv(run / "cohort.csv", self.cohort)
        record = make_record()
        told = {"arm": "vgg16", "arms": ["vgg16"], "folds": FOLDS}
        weights = {"vgg16": {"weights": "random", "note": "the time and memory do not depend on them"}}
        write_json(run / "run.json", record | {"config": record["config"] | told, "weights": weights})
        write_report(run)
        area = metrics.loc[metrics["metric"] == "AUROC", "estimate"].iloc[0]
        if not area > 0.9:
            raise RuntimeError(f"AUROC {area}: the hot spots were not found")


def staged(name: str, work: Callable[[], None], n: int) -> list[tuple[str, float, str]]:
    """Do one stage; return its rows."""
    peak = Peak()
    peak.start()
    began, before = time.perf_counter(), spent()
    work()
    peak.on = False
    cpu = spent() - before
    return [
        (f"{n:,} scans, {name}: time", time.perf_counter() - began, "s"),
        (f"{n:,} scans, {name}: processor time", 1e3 * cpu / n, "ms/scan"),
        (f"{n:,} scans, {name}: memory", peak.own, "MB"),
        (f"{n:,} scans, {name}: memory of a worker", peak.workers, "MB"),
        (f"{n:,} scans, {name}: open files after it", float(psutil.Process().num_fds()), ""),
    ]


def soaked(n: int, jobs: int) -> list[tuple[str, float, str]]:
    """Rows of one number of scans."""
    base = Path(tempfile.mkdtemp(prefix="bench_soak_"))
    try:
        soak = Soak(base, n, jobs)
        rows: list[Any] = []
        for name in ("ingest", "read", "images", "fits", "report"):
            rows += staged(name, getattr(soak, name), n)
            print(*rows[-5:], sep="\n", flush=True)
        return rows
    finally:
        end_workers()
        shutil.rmtree(base)


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="2000,20000", help="numbers of scans (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    rows = []
    for n in map(int, options.n.split(",")):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # memory of another would hide in it
            rows += pool.submit(soaked, n, options.jobs).result()
    record("soak", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
