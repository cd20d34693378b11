"""`bonescan archive`: a finished run as an RO-Crate."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, run_folder

MORE = (
    "Checked first: a run whose files are not as recorded is refused. Images and activations of the scans stay behind;"
    " ids, scores and pictures of scans go along. Needs the extra 'archive'."
)


def add(commands: Commands) -> None:
    """Add the parser."""
    archive = add_command(
        commands, "archive", _archive, "write a run as an RO-Crate 1.1, the form that archives take",
        "study --out study_crate --licence https://creativecommons.org/licenses/by/4.0/",
    )  # fmt: skip
    archive.description = f"{archive.description} {MORE}"
    archive.add_argument("run", help="name or folder of the run")
    archive.add_argument("--out", required=True, type=Path, help="a new or an empty folder")
    archive.add_argument("--licence", default="", help="of the results: its address (default: not stated)")


def _archive(options: argparse.Namespace) -> int:
    from bonescan_utils.crate import archive_run

    files = archive_run(run_folder(options.run), options.out, licence=options.licence)
    print(f"{files:,} files in {options.out}; ro-crate-metadata.json there describes them")
    return OK
