"""`bonescan rerun`: a run once more, from its record."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command, run_folder

MORE = (
    "The profile, parameters, seed and manifest are those on record. The same command resumes. Exit code 0:"
    " predictions.csv is identical; 2: it is not."
)
MOVED = {"manifest": "the manifest is", "weights_dir": "the folder of weights is", "boxes": "the readers' boxes are"}
"""The keys of `whereabouts.PATHS`, and what they are."""


def add(commands: Commands) -> None:
    """Add the parser."""
    rerun = add_command(
        commands, "rerun", _rerun, "repeat a run from its record, say what differs now, and compare the predictions",
        "study --run study_again",
    )  # fmt: skip
    rerun.description = f"{rerun.description} {MORE}"
    rerun.add_argument("run", help="name or folder of the run to repeat")
    rerun.add_argument("--run", dest="name", default="", metavar="NAME", help="new folder (default: RUN_rerun)")
    for name, what in MOVED.items():
        rerun.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="PATH", help=f"where {what} now, if moved")


def _rerun(options: argparse.Namespace) -> int:
    from bonescan_utils.rerun import rerun_study
    from bonescan_utils.runner import find_project
    from bonescan_utils.screen import Screen

    screen = Screen(sys.stdout)
    moved = {name: getattr(options, name) for name in MOVED if getattr(options, name)}
    found = rerun_study(run_folder(options.run), find_project(), screen=screen, name=options.name, moved=moved)
    screen.line(str(found))
    return OK if found.identical else BAD_INPUT
