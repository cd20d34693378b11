"""`bonescan verify`: is a run still what it was when it ended?"""

from __future__ import annotations

import argparse

from bonescan_utils.commands import BAD_INPUT, OK, Commands, add_command, run_folder

SHOWN = 20
MORE = (
    "Exit code 0: all is as recorded; 2: something differs. Where manifest and scans are is kept beside a run's folder;"
    " of a folder that was handed on it is not known, and they are not looked for without --manifest."
)


def add(commands: Commands) -> None:
    """Add the parser."""
    verify = add_command(
        commands, "verify", _verify, "hash all that a run has on record again: what changed, is missing, was added",
        "study",
    )  # fmt: skip
    verify.description = f"{verify.description} {MORE}"
    verify.add_argument("run", help="name or folder of the run")
    verify.add_argument("--manifest", default="", metavar="CSV", help="where the manifest is now, the scans beside it")
    verify.add_argument("--csv", metavar="FILE", help="also write a row per file to this table")


def _verify(options: argparse.Namespace) -> int:
    from bonescan_utils.files import safe_text
    from bonescan_utils.verification import verify_run

    found = verify_run(run_folder(options.run), manifest=options.manifest)
    print(found.summary().to_string(index=False))
    for row in found.differing.head(SHOWN).to_dict("records"):
        hashes = [f"{word} {row[name][:12]}" for word, name in (("was", "expected"), ("is", "found")) if row[name]]
        what = f"{row['kind']}: " * (row["kind"] in ("manifest", "inputs"))  # the others lie in folders called so
        print(f"{row['status']}: {what}{safe_text(row['file'])} ({', '.join(hashes)})")
    if len(found.differing) > SHOWN:
        print(f"... and {len(found.differing) - SHOWN:,} more")
    if options.csv:
        from bonescan_utils.files import write_csv

        write_csv(options.csv, found.files)
    if found.unknown:
        print(
            f"Not checked: {found.unknown:,} files of manifest and scans; where they are is not known here (--manifest)"
        )
    verdict = f"{len(found.differing):,} files differ" if len(found.differing) else "all files are as recorded"
    print(f"Run {found.run}: {verdict}; sha256 of its record: {found.record_sha256}")
    return BAD_INPUT if len(found.differing) else OK
