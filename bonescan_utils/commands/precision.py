"""`bonescan precision`: how wide an interval a test part gives, or how many scans a wanted width takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command

SIZES = (50, 100, 200, 400, 1000)
"""Numbers of test scans that are shown where neither a number nor a width is asked for."""
TEACHES = (
    "The 95 % interval says what chance does with so many test scans: an AUROC of 0.96 in 100 + 100 scans lies in"
    " 0.93-0.99. Give --n to see the widths that a test part of that size will have, or --width to see the fewest"
    " scans for a wanted width of the whole interval (0.06 is 0.03 to either side). Only test scans count, one a"
    " patient; scans of the same patient add less. Sensitivity takes scans with metastasis, specificity those without,"
    " so a rare disease takes many scans. Two arms whose intervals overlap may still differ: they are compared in pairs"
    " on the same scans. Formulas: AUROC Hanley & McNeil 1982 with the mean class size, proportions Wilson 1927."
)


def add(commands: Commands) -> None:
    """Add the parser."""
    precision = add_command(
        commands, "precision", _precision, "say how precise so many test scans are, or how many scans it takes",
        "--width 0.06 --prevalence 0.5 --auroc 0.96",
    )  # fmt: skip
    precision.description = f"{precision.description} {TEACHES}"
    asked = precision.add_mutually_exclusive_group()
    asked.add_argument("--n", type=int, nargs="+", metavar="N", help="numbers of test scans (default: 50 to 1000)")
    asked.add_argument("--width", type=float, nargs="+", metavar="W", help="wanted widths of the whole interval, 0-1")
    precision.add_argument(
        "--prevalence", type=float, default=0.5, help="share of scans with metastasis (default: 0.5)"
    )
    precision.add_argument("--auroc", type=float, default=0.9, help="AUROC that is expected (default: 0.9)")
    precision.add_argument("--sensitivity", type=float, default=0.85, help="sensitivity expected (default: 0.85)")
    precision.add_argument("--specificity", type=float, default=0.85, help="specificity expected (default: 0.85)")
    precision.add_argument("--csv", type=Path, help="also write the table to this file")


def _precision(options: argparse.Namespace) -> int:
    from bonescan_utils.reporting.readable import readable
    from bonescan_utils.sample_size import precision_table, scans_needed

    expected = {name: getattr(options, name) for name in ("prevalence", "auroc", "sensitivity", "specificity")}
    if options.width:
        table = scans_needed(options.width, **expected)
    else:
        table = precision_table(options.n or SIZES, **expected)
    print(readable(table).to_string(index=False))
    if options.csv:
        from bonescan_utils.files import write_csv

        write_csv(options.csv, table)
    return OK
