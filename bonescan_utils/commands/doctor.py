"""`bonescan doctor`: what this machine has and lacks."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import FAILED, OK, Commands, add_command


def add(commands: Commands) -> None:
    """Add the parser."""
    doctor = add_command(commands, "doctor", _doctor, "say what this machine has and lacks", "")
    doctor.add_argument("--weights-dir", default="", help="folder with the official weights files")
    doctor.add_argument("--out", type=Path, default=Path("reports"), help="folder to test for write access")


def _doctor(options: argparse.Namespace) -> int:
    from bonescan_utils.doctor import examine

    healthy = True
    for finding in examine(weights_dir=options.weights_dir, out=options.out):
        print(f"{finding.mark:5} {finding.what:20} {finding.found}")
        healthy &= finding.mark != "FAIL"
    return OK if healthy else FAILED
