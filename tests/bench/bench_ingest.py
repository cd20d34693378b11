"""Ingest: phantoms made, DICOM files read and images prepared, and whether cost and memory grow with their number.

    python tests/bench/bench_ingest.py [--n 10000]

The large cohort is 100 phantoms under many names (links to the same files), so that it needs no disk; each is read and
prepared anew. Memory is the peak of this process.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from record import record

from bonescan_utils.loading import load_scan
from bonescan_utils.manifest import read_manifest
from bonescan_utils.phantom import write_cohort
from bonescan_utils.preprocessing import prepare

BASE = 100


def make(folder: Path) -> tuple[pd.DataFrame, float]:
    """The cohort, and phantoms made a second and core."""
    began = time.perf_counter()
    manifest = write_cohort(folder, n=BASE, seed=11, n_jobs=1, progress=False)
    return read_manifest(manifest), BASE / (time.perf_counter() - began)


def many(cohort: pd.DataFrame, folder: Path, n: int) -> pd.DataFrame:
    """A cohort of n scans under their own names."""
    rows = pd.concat([cohort] * -(-n // BASE), ignore_index=True).head(n)
    names = [f"scans/many_{at:06d}.dcm" for at in range(n)]
    for name, source in zip(names, rows["anterior"], strict=True):
        if not (folder / name).exists():
            os.link(folder / source, folder / name)
    rows["anterior"] = rows["posterior"] = names
    return rows.assign(scan_id=[f"m{at:06d}" for at in range(n)])


def rates(cohort: pd.DataFrame, folder: Path) -> tuple[float, float]:
    """Scans read a second and core, and prepared a second and core."""
    rows = cohort.to_dict("records")
    began = time.perf_counter()
    for row in rows:
        load_scan(row, folder)
    read = time.perf_counter() - began
    scans = [load_scan(row, folder) for row in rows[:BASE]]
    began = time.perf_counter()
    for scan in scans:
        prepare(scan, layout="side_by_side", size=(320, 160))
    return len(rows) / read, len(scans) / (time.perf_counter() - began)


def store_of(n: int, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (GB) of a process that ingests n scans and builds their image store."""
    code = f"""
import sys, resource; from pathlib import Path; from bonescan_utils.cohort import ingest
from bonescan_utils.image_store import build_store; from bonescan_utils.files import read_csv
table = read_csv("{folder}/many_{n}.csv").fillna("")
for name in ("sha256_anterior", "sha256_posterior", "partition"): table[name] = ""
import time; began = time.perf_counter(); root = Path("{folder}")
build_store(table.assign(partition="test"), root, root / "store_{n}", n_jobs=1, progress=False)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    spent, memory = done.stdout.split()
    return float(spent), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000, help="scans of the large cohort (default: 10000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort, made = make(folder)
        read, prepared = rates(cohort, folder)
        rows = [("phantoms made, per core", made, "scans/s"), ("DICOM files read, per core", read, "scans/s"),
                ("images prepared, per core", prepared, "scans/s")]  # fmt: skip
        costs = {}
        for n in (BASE, options.n // 10, options.n):
            many(cohort, folder, n).to_csv(folder / f"many_{n}.csv", index=False)
            spent, memory = store_of(n, folder)
            costs[n] = spent / n
            rows += [(f"image store of {n:,} scans, 1 core", n / spent, "scans/s"),
                     (f"peak memory at {n:,} scans", memory, "GB")]  # fmt: skip
        rows.append((f"cost a scan at {options.n:,} / at {options.n // 10:,}", costs[options.n] / costs[options.n // 10],
                     "ratio"))  # fmt: skip
    record("ingest", rows)
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB at most")


if __name__ == "__main__":
    main()
