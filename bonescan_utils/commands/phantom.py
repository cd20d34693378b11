"""`bonescan phantom`: synthetic scans."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, even, seed


def add(commands: Commands) -> None:
    """Add the parser."""
    phantom = add_command(
        commands, "phantom", _phantom, "make synthetic scans as DICOM, with manifest and truth",
        "--out data_small --n 20 --seed 7",
    )  # fmt: skip
    phantom.add_argument("--out", required=True, type=Path, help="folder to write to")
    phantom.add_argument("--n", type=even, default=1000, help="number of scans, even (default: 1000)")
    phantom.add_argument("--seed", type=seed, default=2022, help="seed of the cohort (default: 2022)")
    phantom.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")


def _phantom(options: argparse.Namespace) -> int:
    from bonescan_utils import phantom

    manifest = phantom.write_cohort(options.out, n=options.n, seed=options.seed, n_jobs=options.jobs)
    print(f"{options.n} phantom scans: {manifest}")
    return OK
