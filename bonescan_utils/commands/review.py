"""`bonescan review`: the panel in which a reader reads the scans of a manifest."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bonescan_utils.commands import FAILED, OK, Commands, add_command, positive, seed


def add(commands: Commands) -> None:
    """Add the parser."""
    review = add_command(
        commands, "review", _review, "open the panel for image review, blinded to the reports, in JupyterLab",
        "data_manifest.csv --reader A --sample 100",
    )  # fmt: skip
    review.add_argument("manifest", type=Path, help="CSV with one row per scan")
    review.add_argument("--reader", default="A", help="your code name, not your name (default: A)")
    review.add_argument(
        "--sample", type=positive, help="read a random sample of so many scans, the same for all readers"
    )
    review.add_argument("--seed", type=seed, default=2022, help="seed of the sample (default: 2022)")
    review.add_argument("--out", type=Path, help="folder of the readings (default: `review` beside the manifest)")
    review.add_argument("--no-open", action="store_true", help="write the notebook only, for a JupyterLab that runs")


def _review(options: argparse.Namespace) -> int:
    from bonescan_utils.labelling.agreement import reviewed_sample
    from bonescan_utils.labelling.notebook import patients_of, write_review_notebook
    from bonescan_utils.labelling.readings import check_reader, read_log

    reader = check_reader(options.reader)
    patients = patients_of(options.manifest)
    size = options.sample or len(patients)
    sample = reviewed_sample(list(patients.index), list(patients), size, seed=options.seed) if options.sample else []
    folder = options.out or options.manifest.parent / "review"
    read_log(folder / "readings.csv")  # a damaged log is told of before the browser opens
    path = write_review_notebook(
        folder / f"review_{reader}.ipynb", manifest=options.manifest, log=folder / "readings.csv", reader=reader,
        scan_ids=sample,
    )  # fmt: skip
    print(f"{len(sample) or len(patients):,} scans for reader {reader}: run the first two cells of {path}.")
    if options.no_open:
        return OK
    print("Starting JupyterLab; stop it with Ctrl-C, or leave it and open the notebook in one that runs.", flush=True)
    return OK if subprocess.call([sys.executable, "-m", "jupyterlab", str(path)]) == 0 else FAILED
