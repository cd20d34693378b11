"""`bonescan predict`: scores of scans by a model of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command, run_folder

if TYPE_CHECKING:  # of the extra `pacs`
    from bonescan_utils.pacs.store import Node


def add(commands: Commands) -> None:
    """Add the parser."""
    predict = add_command(
        commands, "predict", _predict, "score scans with a model of a finished run, with Grad-CAM",
        "scan.dcm --run study --out results",
    )  # fmt: skip
    predict.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_DIR", help="DICOM files or folders")
    predict.add_argument("--run", help="name or folder of the run that trained the model")
    predict.add_argument(
        "--arm", default="proposed",
        help="which model: an arm of the run (default: proposed), or the path RUN/models/NAME.keras, without --run",
    )  # fmt: skip
    predict.add_argument(
        "--out", required=True, type=Path,
        help="folder for JSON, pictures and the summary; the same command resumes, what is whole is kept",
    )  # fmt: skip
    predict.add_argument(
        "--trust-model", default="", metavar="REASON",
        help="use a model that the run does not have on record, a foreign one; the reason is written into every result",
    )  # fmt: skip
    pacs = predict.add_argument_group(
        "back to a PACS", "for research use only; needs the extra 'pacs'; see docs/pacs.md"
    )
    pacs.add_argument(
        "--dicom", action="store_true",
        help="also write a DICOM Secondary Capture of each view and a Structured Report; they carry the patient's name",
    )  # fmt: skip
    pacs.add_argument(
        "--send", metavar="HOST:PORT", help="also send them to this node by C-STORE (with --dicom or not)"
    )
    pacs.add_argument("--ae-title", default="BONESCAN", metavar="AE", help="our AE title (default: BONESCAN)")
    pacs.add_argument("--called-ae", default="ANY-SCP", metavar="AE", help="the node's AE title (default: ANY-SCP)")


def _predict(options: argparse.Namespace) -> int:
    from bonescan_utils.predict import links_file, predict_files, send_results

    node = _node(options)
    run, dicom = run_folder(options.run) if options.run else None, options.dicom or node is not None
    summary = predict_files(
        options.inputs, run=run, arm=options.arm, out=options.out, trust=options.trust_model.strip(), dicom=dicom,
        progress=True,
    )  # fmt: skip
    for row in summary.itertuples():
        print(f"{row.scan_id}: score {row.y_score:.3f}" if row.status == "scored" else f"{row.scan_id}: {row.reason}")
        if row.dicom not in ("", "written") and row.status == "scored":
            print(f"{row.scan_id}: no DICOM objects: {row.dicom}")
    unusable, kept = int((summary["status"] != "scored").sum()), int(summary["kept"].sum())
    print(f"{len(summary) - unusable} scored ({kept} of them before), {unusable} unusable; results in {options.out}")
    print(f"Which file is which: {links_file(options.out)}. It holds names of files; keep it where the scans are.")
    if node is not None:
        sent = send_results(options.out, node)
        print(f"DICOM objects of {int((sent['sent'] == 'stored').sum())} files stored by {node}")
    return BAD_INPUT if unusable else OK


def _node(options: argparse.Namespace) -> Node | None:
    """Return the node to send to, or None; what it needs is checked before any work."""
    from bonescan_utils.profiles import StudyError

    if not options.send:
        return None
    from bonescan_utils.pacs import require_pacs

    require_pacs("pynetdicom", option="--send")
    from bonescan_utils.pacs.store import parse_node

    try:
        return parse_node(options.send, ae=options.ae_title, called_ae=options.called_ae)
    except ValueError as error:
        raise StudyError(f"--send: {error}") from error
