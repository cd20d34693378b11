"""`bonescan rerun`: a run once more, from its record."""

from __future__ import annotations

import argparse
import sys

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command, run_folder

MORE = (
    "The profile, parameters, seed and manifest are those on record. The same command resumes. Exit code 0:"
    " predictions.csv is identical; 2: it is not."
)


def add(commands: Commands) -> None:
    """Add the parser."""
    rerun = add_command(
        commands, "rerun", _rerun, "repeat a run from its record, say what differs now, and compare the predictions",
        "study --run study_again",
    )  # fmt: skip
    rerun.description = f"{rerun.description} {MORE}"
    rerun.add_argument("run", help="name or folder of the run to repeat")
    rerun.add_argument("--run", dest="name", default="", metavar="NAME", help="new folder (default: RUN_rerun)")
    rerun.add_argument("--manifest", default="", metavar="CSV", help="where the manifest is now, if it was moved")


def _rerun(options: argparse.Namespace) -> int:
    from bonescan_utils.rerun import rerun_study
    from bonescan_utils.runner import find_project
    from bonescan_utils.screen import Screen

    screen = Screen(sys.stdout)
    found = rerun_study(
        run_folder(options.run), find_project(), screen=screen, name=options.name, manifest=options.manifest
    )
    screen.line(str(found))
    return OK if found.identical else BAD_INPUT
