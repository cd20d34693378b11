"""Memory of features and fits as a cohort grows: must stay flat from 1,000 to 20,000 scans.

    python tests/bench/bench_memory.py [--n 20000] [--arms proposed,densenet121_finetuned]

Small images (64 x 32) of noise with a spot in every second one, random weights: cost per image is small, and all that grows
with the number of scans (hashes, shards, gathered features, the head's fit) is that of the study. Each number is the
peak of a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from record import record

SIZE = (64, 32)
CODE = """
import os, resource, sys, tempfile, time
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from dataclasses import replace
from pathlib import Path
import numpy as np
from bonescan_utils.arms import get_arm
from bonescan_utils.features import features
from bonescan_utils.plan import Images
from bonescan_utils.transfer import fit
from bonescan_utils.weights import resolve_weights

name, n, size = sys.argv[1], int(sys.argv[2]), (int(sys.argv[3]), int(sys.argv[4]))
arm = get_arm(name)
arm = replace(arm, copies=min(arm.copies, 1), epochs=min(arm.epochs, 1))
with tempfile.TemporaryDirectory() as folder:
    images = np.lib.format.open_memmap(Path(folder) / "i.npy", mode="w+", dtype=np.uint8, shape=(n, *size))
    rng = np.random.default_rng(0)
    for at in range(n):
        images[at] = rng.integers(0, 120, size)
        if at % 2:
            images[at, 20:26, 10:16] = 250
    tenth = np.arange(n) // 2 % 10  # both labels in each
    train = np.flatnonzero(tenth < 7)
    copies = np.lib.format.open_memmap(Path(folder) / "c.npy", mode="w+", dtype=np.uint8, shape=(len(train), 1, *size))
    for at, row in enumerate(train):
        copies[at, 0] = images[row, ::-1]
    store = Images(images, copies, train)
    began = time.perf_counter()
    source = resolve_weights(arm.backbone, weights="random")
    found = features(store, arm, source=source, out_dir=folder, progress=False, batch=64)
    part = np.where(tenth < 7, "train", np.where(tenth < 8, "tuning", "test"))
    fitted = fit(arm, found, np.arange(n) % 2, part, progress=False)
    fitted.predict(found)
    disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.suffix == ".npy" and path.stem not in "ic")
    print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, disk / 1e9)
"""


def peak(arm: str, n: int) -> tuple[float, float, float]:
    """Seconds, peak resident memory (GB) and disk (GB) of features and fit of one arm on n scans."""
    command = [sys.executable, "-c", CODE, arm, str(n), *map(str, SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent, memory, disk = map(float, done.stdout.split()[-3:])
    return spent, memory, disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000, help="scans of the large cohort (default: 20000)")
    parser.add_argument("--arms", default="proposed,densenet121_finetuned", help="arms by name")
    options = parser.parse_args()
    rows = []
    for arm in options.arms.split(","):
        for n in (1000, options.n):
            spent, memory, disk = peak(arm, n)
            rows += [(f"{arm}, {n:,} scans: peak memory", memory, "GB"), (f"{arm}, {n:,} scans: time a scan",
                     1000 * spent / n, "ms"), (f"{arm}, {n:,} scans: store", disk, "GB")]  # fmt: skip
    record("memory", rows)


if __name__ == "__main__":
    main()
