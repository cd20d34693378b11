"""Saliency: scans scored and explained with Grad-CAM against their forward passes alone, in one process, taking turns.

    python tests/bench/bench_saliency.py --run reports/study [--n 200] [--arm proposed] [--method gradcam]

Both sides start from prepared images in memory and a loaded model, and both give the scores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from record import ROOT, record

from bonescan_utils.files import read_csv
from bonescan_utils.image_store import open_store
from bonescan_utils.models import load_model, model_record, predict
from bonescan_utils.saliency import METHODS, saliency_map

REPEATS = 3


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of one call: on a busy machine the wall clock measures the others."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=ROOT / "reports" / "study", help="a finished run")
    parser.add_argument("--arm", default="proposed", help="an arm of it")
    parser.add_argument("--method", default="gradcam", choices=METHODS)
    parser.add_argument("--n", type=int, default=200, help="test scans at most")
    options = parser.parse_args()
    cohort, model = read_csv(options.run / "cohort.csv"), options.run / "models" / f"{options.arm}.keras"
    rows = np.flatnonzero(cohort["partition"] == "test")[: options.n]
    images, about, network = open_store(options.run / "store").images[rows], model_record(model), load_model(model)

    def explained() -> object:
        return saliency_map(
            network, images, backbone=about["backbone"], layers=about["explained_layers"], method=options.method
        )

    def forward() -> object:
        return predict(network, images)

    explained(), forward()  # to warm up
    pairs = [(seconds_of(explained), seconds_of(forward)) for _ in range(REPEATS)]
    best = [min(pair[side] for pair in pairs) for side in (0, 1)]
    what = f"{options.arm}, {len(images)} scans"
    record("saliency", [(f"{what}: {options.method} with the scores", best[0], "s, processor"),
                        (f"{what}: forward passes", best[1], "s, processor"),
                        (f"{what}: {options.method} / forward passes", best[0] / best[1], "ratio")])  # fmt: skip


if __name__ == "__main__":
    main()
