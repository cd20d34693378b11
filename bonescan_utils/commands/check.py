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
    check.add_argument("--problems", type=Path, metavar="FILE.csv", help="write all problems to a table as well")


def _check(options: argparse.Namespace) -> int:
    from bonescan_utils import cohort
    from bonescan_utils.manifest import read_manifest
    from bonescan_utils.problems import ManifestError, write_problems
    from bonescan_utils.profiles import StudyError

    if options.problems and options.problems.resolve() == options.manifest.resolve():
        raise StudyError(f"--problems {options.problems}: it is the manifest itself; name another file")
    problems = cohort.check(options.manifest)
    if options.problems:
        write_problems(options.problems, problems)  # also where there is none: nothing of an earlier check stays
    if problems:
        print(ManifestError(problems))
        print(f"{options.manifest}: {len(problems)} problem{'s' * (len(problems) > 1)}", file=sys.stderr)
        return BAD_INPUT
    summary = cohort.describe(read_manifest(options.manifest), options.manifest.parent)
    print(f"{options.manifest}: no problem found; {summary}")
    return OK
