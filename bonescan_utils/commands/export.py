"""`bonescan export`: a finished run as a folder to submit."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, run_folder

JOURNALS = ("elsevier", "springer", "nature")
"""The keys of `style.JOURNALS`, without loading what draws."""


def add(commands: Commands) -> None:
    """Add the parser."""
    export = add_command(
        commands, "export", _export, "write the figures and tables of a run as a journal takes them",
        "study --journal elsevier --out submission",
    )  # fmt: skip
    export.add_argument("run", help="name or folder of the run")
    export.add_argument(
        "--journal", choices=JOURNALS, default=JOURNALS[0], help="whose column widths (default: elsevier)"
    )
    export.add_argument("--out", required=True, type=Path, help="a new folder, or that of an earlier export")


def _export(options: argparse.Namespace) -> int:
    from bonescan_utils.reporting.export import export_run

    files = export_run(run_folder(options.run), journal=options.journal, out=options.out)
    print(f"{len(files)} files in {options.out}; README.md there says what is what")
    return OK
