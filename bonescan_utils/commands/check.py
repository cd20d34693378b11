"""`bonescan check`: a manifest and every file it names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command


def add(commands: Commands) -> None:
    """Add the parser."""
    check = add_command(commands, "check", _check, "check a manifest and every file it names", "my_manifest.csv")
    check.add_argument("manifest", type=Path, help="CSV with one row per scan")


def _check(options: argparse.Namespace) -> int:
    from bonescan_utils import cohort
    from bonescan_utils.manifest import read_manifest

    problems = cohort.check(options.manifest)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{options.manifest}: {len(problems)} problem{'s' * (len(problems) > 1)}", file=sys.stderr)
        return BAD_INPUT
    summary = cohort.describe(read_manifest(options.manifest), options.manifest.parent)
    print(f"{options.manifest}: no problem found; {summary}")
    return OK
