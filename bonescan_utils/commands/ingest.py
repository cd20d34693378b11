"""`bonescan ingest`: a folder as it came from a PACS, or a public data set -> a manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command

LAYOUTS = ("auto", "dicom", "bs80k", "paraguay")


def add(commands: Commands) -> None:
    """Add the parser."""
    ingest = add_command(
        commands, "ingest", _ingest, "find the bone scans in a folder and make a manifest of them, under pseudonyms",
        "/mnt/pacs_export --out cohort/data_manifest.csv --key ~/keys/study.key",
    )  # fmt: skip
    ingest.add_argument("folder", type=Path, metavar="DIR", help="any tree of DICOM files, or a public data set")
    ingest.add_argument("--out", type=Path, required=True, metavar="MANIFEST.csv", help="the manifest to write")
    ingest.add_argument(
        "--quarantine", type=Path, metavar="FILE.csv",
        help="what was set aside, with a reason (default: MANIFEST_quarantine.csv)",
    )  # fmt: skip
    ingest.add_argument(
        "--reports", type=Path, metavar="REPORTS.csv", help="reports to link: accession, or patient_id and date"
    )
    ingest.add_argument(
        "--key", type=Path, metavar="FILE",
        help="key of the pseudonyms, made if absent, never inside the output (default: ~/.bonescan/ingest.key)",
    )  # fmt: skip
    ingest.add_argument("--layout", choices=LAYOUTS, default="auto", help="what the folder is (default: auto)")
    ingest.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")


def _ingest(options: argparse.Namespace) -> int:
    from bonescan_utils.ingest import ingest_folder
    from bonescan_utils.ingest.layouts import detect, ingest_layout

    layout = detect(options.folder) if options.layout == "auto" else options.layout
    if layout == "dicom":
        outcome = ingest_folder(
            options.folder, options.out, quarantine=options.quarantine, reports=options.reports, key_file=options.key,
            n_jobs=options.jobs,
        )  # fmt: skip
    else:
        outcome = ingest_layout(
            options.folder, options.out, layout=layout, quarantine=options.quarantine, n_jobs=options.jobs
        )
    _draw_flow(options.out)
    print(outcome)
    return BAD_INPUT if outcome.set_aside or not outcome.scans else OK


def _draw_flow(manifest: Path) -> None:
    """Draw the flow of files beside its table."""
    from bonescan_utils.files import read_csv
    from bonescan_utils.flow import plot_flow
    from bonescan_utils.ingest.outcome import flow_files
    from bonescan_utils.style import save_figure

    table, picture = flow_files(manifest)
    save_figure(plot_flow(read_csv(table)), picture.with_suffix(""), formats=("png",))
