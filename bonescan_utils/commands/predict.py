"""`bonescan predict`: scores of scans by a model of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command, run_folder


def add(commands: Commands) -> None:
    """Add the parser."""
    predict = add_command(
        commands, "predict", _predict, "score scans with a model of a finished run, with Grad-CAM",
        "scan.dcm --run study --out results",
    )  # fmt: skip
    predict.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_DIR", help="DICOM files or folders")
    predict.add_argument("--run", required=True, help="name or folder of the run that trained the model")
    predict.add_argument("--arm", default="proposed", help="which model (default: proposed)")
    predict.add_argument("--out", required=True, type=Path, help="folder for JSON, pictures and the summary")


def _predict(options: argparse.Namespace) -> int:
    from bonescan_utils.predict import predict_files

    summary = predict_files(options.inputs, run=run_folder(options.run), arm=options.arm, out=options.out)
    unusable = summary[summary["status"] != "scored"]
    for row in summary.itertuples():
        print(f"{row.scan_id}: score {row.y_score:.3f}" if row.status == "scored" else f"{row.file}: {row.reason}")
    print(f"{len(summary) - len(unusable)} scored, {len(unusable)} unusable; results in {options.out}")
    return BAD_INPUT if len(unusable) else OK
