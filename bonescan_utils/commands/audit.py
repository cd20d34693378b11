"""`bonescan audit`: leaks, label conflicts, shortcuts and drifts of a cohort."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command


def add(commands: Commands) -> None:
    """Add the parser."""
    audit = add_command(
        commands, "audit", _audit, "look for what would make a study's numbers too good: leaks, conflicts, shortcuts",
        "cohort/data_manifest.csv",
    )  # fmt: skip
    audit.add_argument("manifest", type=Path, help="CSV with one row per scan; labels and partitions may be missing")
    audit.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")


def _audit(options: argparse.Namespace) -> int:
    from bonescan_utils.audit import audit, write_audit
    from bonescan_utils.cohort import on_disk
    from bonescan_utils.manifest import is_phantom, read_manifest

    df, root = read_manifest(options.manifest, labelled=False), options.manifest.parent
    unmade = is_phantom(df) & ~on_disk(df, root)
    found = audit(df, root, images=~unmade, n_jobs=options.jobs)
    print(found)
    if unmade.any():
        print(f"{int(unmade.sum()):,} phantoms are not made yet and were not compared.")
    print("Written: " + ", ".join(path.name for path in write_audit(found, options.manifest)))
    return BAD_INPUT if len(found.stops) or found.unread else OK
