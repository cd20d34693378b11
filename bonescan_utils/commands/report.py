"""`bonescan report`: a finished run as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, run_folder


def add(commands: Commands) -> None:
    """Add the parser."""
    report = add_command(
        commands, "report", _report, "write a run as one web page: figures, tables, methods, reporting checklists",
        "study --out report.html",
    )  # fmt: skip
    report.add_argument("run", help="name or folder of the run")
    report.add_argument("--out", type=Path, help="HTML file to write (default: report.html in the run's folder)")


def _report(options: argparse.Namespace) -> int:
    from bonescan_utils.reporting.page import write_report
    from bonescan_utils.runner import shown

    print(f"Report: {shown(write_report(run_folder(options.run), options.out))}")
    return OK
