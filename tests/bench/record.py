"""Benchmarks write their rows into one table, with the machine, the versions and the command that made them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bonescan_utils import provenance
from bonescan_utils.files import read_text_csv, write_csv

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "reports" / "reference" / "benchmarks.csv"


def seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    """The least time of some repetitions, after one that warms up."""
    work()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def record(bench: str, rows: list[tuple[str, float, str]]) -> None:
    """Replace a benchmark's rows in the table by new ones, and print them.

    Args:
        bench: The benchmark's name.
        rows: what, value, unit.
    """
    hardware, versions = provenance.hardware(), provenance.versions(("tensorflow", "keras", "numpy"))
    machine = f"{hardware['processor']}, {hardware['cores']} cores"
    about = {
        "machine": machine,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "command": " ".join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *sys.argv[1:]]),
    }
    made = pd.DataFrame([{"bench": bench, "what": w, "value": f"{v:.4g}", "unit": u, **about} for w, v, u in rows])
    if TABLE.exists():
        old = read_text_csv(TABLE)
        made = pd.concat([old[old["bench"] != bench], made], ignore_index=True)
    write_csv(TABLE, made)
    for what, value, unit in rows:
        print(f"{what:70} {value:10.4g} {unit}")
