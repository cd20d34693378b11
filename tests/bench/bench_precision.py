"""Precision: the AUROC of an arm from features in bfloat16 against float32, on the same test scans of a finished run.

    python tests/bench/bench_precision.py --run reports/study [--arms proposed,vgg16]

First the run's own model, scored in both: what the number format does to a score. Then each arm computed and fitted anew
in both, in a process each: for an arm that is trained by descent that is also another course of the training, as with
another seed, so that its difference says how far fits differ, and not how exact a format is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
from record import ROOT, record

from bonescan_utils.files import read_csv
from bonescan_utils.paired import paired_tests

CODE = """
import os, sys, tempfile
os.environ["BONESCAN_PRECISION"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = sys.argv[3], "2"
from pathlib import Path
from bonescan_utils.arms import get_arm
from bonescan_utils.features import features
from bonescan_utils.files import read_csv, write_csv
from bonescan_utils.image_store import open_store
from bonescan_utils.transfer import fit
from bonescan_utils.weights import resolve_weights

run, arm = Path(sys.argv[1]), get_arm(sys.argv[2])
cohort, store = read_csv(run / "cohort.csv"), open_store(run / "store")
with tempfile.TemporaryDirectory() as folder:
    source = resolve_weights(arm.backbone, weights="auto")
    found = features(store, arm, source=source, out_dir=folder, progress=False)
    labels = cohort["metastasis"].to_numpy()
    fitted = fit(arm, found, labels, cohort["partition"].to_numpy(), seed=2022, progress=False)
    scores = cohort[["scan_id", "patient_id", "partition"]].assign(y_true=labels, y_score=fitted.predict(found))
    write_csv(Path(sys.argv[4]), scores)
"""


def same_model(run: Path, arm: str) -> pd.DataFrame:
    """Scores of the run's test scans by its own model, in both precisions."""
    from bonescan_utils.image_store import open_store
    from bonescan_utils.models import load_in_precision, predict

    cohort, store = read_csv(run / "cohort.csv"), open_store(run / "store")
    at = (cohort["partition"] == "test").to_numpy().nonzero()[0]
    rows = cohort.loc[at, ["scan_id", "patient_id", "partition"]].assign(y_true=cohort["metastasis"].iloc[at])
    parts = []
    for name in ("float32", "mixed_bfloat16"):
        model = load_in_precision(run / "models" / f"{arm}.keras", name)
        parts.append(rows.assign(arm=name, y_score=predict(model, store.images[at])))
    return pd.concat(parts, ignore_index=True)


def compared(both: pd.DataFrame, what: str) -> list[tuple[str, float, str]]:
    """The paired difference of the AUROCs, and the largest difference of a score."""
    tests = paired_tests(both, dict.fromkeys(both["arm"].unique(), 0.5), reference="float32")
    found = tests[tests["quantity"] == "AUROC"].iloc[0]
    wide = both.pivot(index="scan_id", columns="arm", values="y_score")
    return [(f"{what}: AUROC float32 less bfloat16", found["difference"],
             f"{found['ci_low']:.4f} to {found['ci_high']:.4f}"),
            (f"{what}: largest difference of a score", (wide.iloc[:, 0] - wide.iloc[:, 1]).abs().max(), "0-1")]  # fmt: skip


def scores(run: Path, arm: str, precision: str, out: Path) -> pd.DataFrame:
    """Scores of every scan of the run by an arm computed in one precision."""
    subprocess.run([sys.executable, "-c", CODE, str(run), arm, precision, str(out)], check=True)
    return read_csv(out).assign(arm=precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=ROOT / "reports" / "study", help="a finished run")
    parser.add_argument("--arms", default="proposed,vgg16", help="arms by name")
    options = parser.parse_args()
    rows = []
    for arm in options.arms.split(","):
        kept = {name: options.run / f"precision_{arm}_{name}.csv" for name in ("float32", "mixed_bfloat16")}
        both = pd.concat([scores(options.run, arm, name, path) for name, path in kept.items()], ignore_index=True)
        rows += compared(same_model(options.run, arm), f"{arm}, one model")
        rows += compared(both, f"{arm}, fitted in each")
        for path in kept.values():
            path.unlink()
    record("precision", rows)


if __name__ == "__main__":
    main()
