"""Copy the small, patient-free results of a run to `reports/reference/`: tables, pictures, `run.json`.

    python scripts/make_reference.py reports/study

Only for runs on the phantom cohort: the pictures show scans.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

LIMIT_BYTES = 5_000_000
LARGE_PICTURES = ("before_after", "failures")
"""Sheets of scans beside the two that are shown: a megabyte each."""
LARGEST_TABLE = 100_000
"""Tables beyond this hold a row per scan or per point of a curve: a run makes them again."""


def main(run: Path, out: Path = Path("reports/reference")) -> None:
    """Replace the tables and pictures in `out` by those of `run`; refuses more than `LIMIT_BYTES`."""
    tables = [path for path in sorted((run / "tables").glob("*.csv")) if path.stat().st_size <= LARGEST_TABLE]
    pictures = [path for path in sorted((run / "figures").glob("*.png")) if path.stem not in LARGE_PICTURES]
    files = [run / "run.json", *tables, *pictures]
    total = sum(path.stat().st_size for path in files)
    if total > LIMIT_BYTES:
        raise SystemExit(f"{total:,} bytes in {len(files)} files; at most {LIMIT_BYTES:,} belong in git")
    for name in ("tables", "figures"):  # beside them lie the benchmarks, which no run makes
        shutil.rmtree(out / name, ignore_errors=True)
    for path in files:
        target = out / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    print(f"{len(files)} files, {total:,} bytes in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
