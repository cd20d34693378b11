"""The manifest: one row per scan, its schema, reading, checking and writing.

Every fault of a manifest is found in one pass, with file, line, column, value and what was expected. A label
is 0 or 1 and nothing else; a blank or unknown one is never the negative class. Ids are text for ever.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import CsvError, CsvText, parse_csv, write_csv
from bonescan_utils.long_tables import write_rows
from bonescan_utils.manifest_rules import COLUMNS, check_table, of_study
from bonescan_utils.partitions import PARTITIONS, assign_partitions, patient_key, take
from bonescan_utils.problems import ManifestError, Problem

__all__ = [
    "COLUMNS",
    "PARTITIONS",
    "ManifestError",
    "Problem",
    "assign_partitions",
    "check_paths",
    "is_phantom",
    "lines_of",
    "of_study",
    "patient_key",
    "read_manifest",
    "take",
    "write_manifest",
    "write_manifest_rows",
]

_BLOCK = 2000
"""Rows that are checked at once where a manifest is written row by row."""


class _Lines(dict[str, int]):
    """Line of each scan id; pandas copies `attrs` deeply at each step, which this need not be."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Lines:
        return self


# ---------------------------------------------------------------------------------------------- reading
def read_manifest(path: str | Path, *, labelled: bool = True) -> pd.DataFrame:
    """Reads and checks a manifest.

    Args:
        path: A CSV with the columns `COLUMNS` and any others.
        labelled: Every row must have its label; if not, as after an ingest, cells of `metastasis` may be blank.

    Returns:
        One row per scan, `COLUMNS` first: `metastasis` int64 (Int64, blank as NA, if not `labelled`), `age`
        float64 in years (NaN if unknown), all else text ('' if unknown). `attrs["path"]` is the path;
        `lines_of` gives the lines.

    Raises:
        ManifestError: Anything is wrong; it holds every problem found.
    """
    try:
        table = parse_csv(path)
    except CsvError as error:
        hint = f"{error.what[0].upper()}{error.what[1:]}."
        raise ManifestError([Problem(str(path), error.line, expected="a CSV table", hint=hint)]) from None
    problems = list(check_table(str(path), table, labelled=labelled))
    if problems:
        raise ManifestError(sorted(problems, key=lambda problem: problem.line))
    others = [name for name in table.header if name not in COLUMNS]
    df = pd.DataFrame(table.rows, columns=pd.Index(table.header), dtype="str")[[*COLUMNS, *others]]
    df["metastasis"] = df["metastasis"].astype("int64") if labelled else _labels(df["metastasis"])
    df["age"] = df["age"].map(lambda cell: float(cell) if cell else math.nan).astype("float64")
    df.attrs["path"] = str(path)
    df.attrs["lines"] = _Lines(zip(df["scan_id"], table.lines, strict=True))
    return df


def _labels(cells: pd.Series) -> pd.Series:
    """Returns labels of which some may be blank."""
    return pd.Series([int(cell) if cell else None for cell in cells], index=cells.index, dtype="Int64")


def lines_of(df: pd.DataFrame) -> dict[str, int]:
    """Returns scan id -> line in the manifest; empty for a table that was not read from one."""
    return df.attrs.get("lines", {})


# ---------------------------------------------------------------------------------------------- writing
def write_manifest(path: str | Path, df: pd.DataFrame, *, labelled: bool = True) -> None:
    """Checks a manifest by the rules of `read_manifest` and writes it, or writes nothing.

    Args:
        path: The CSV.
        df: One row per scan.
        labelled: As for `read_manifest`.

    Raises:
        ManifestError: It would not be readable; the lines are those that it would have had.
    """
    missing = [name for name in COLUMNS if name not in df.columns]
    others = [str(name) for name in df.columns if name not in COLUMNS]
    text = df[[name for name in (*COLUMNS, *others) if name not in missing]].map(_cell)
    rows = text.to_numpy(dtype=object).tolist()
    table = CsvText([str(name) for name in text.columns], rows, list(range(2, len(rows) + 2)))
    problems = list(check_table(str(path), table, labelled=labelled))
    if problems:
        raise ManifestError(problems)
    write_csv(path, text)


def write_manifest_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Checks and writes a manifest without labels row by row, or writes nothing; returns the number of rows.

    Memory does not grow with it. Rows are checked against each other only `_BLOCK` at a time: that ids, files and
    contents occur once is the caller's to know.

    Args:
        path: The CSV.
        columns: `COLUMNS` and any others.
        rows: Values by column.

    Raises:
        ManifestError: A row would not be readable.
    """
    return write_rows(path, columns, _checked(path, columns, rows))


def _checked(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Gives the rows as text, each after its block was checked."""
    line = 2
    cells = ([_cell(row[name]) for name in columns] for row in rows)
    while block := list(islice(cells, _BLOCK)):
        table = CsvText(list(columns), block, list(range(line, line + len(block))))
        if problems := list(check_table(str(path), table, labelled=False)):
            raise ManifestError(problems)
        yield from block
        line += len(block)


def _cell(value: Any) -> str:
    """Returns a cell as text: nothing for a missing value, 57 for 57.0."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


# ---------------------------------------------------------------------------------------------- files
def is_phantom(df: pd.DataFrame) -> pd.Series:
    """Tells for each row whether it is a synthetic scan, one with a `phantom_seed`, to be made on demand."""
    if "phantom_seed" not in df.columns:
        return pd.Series(False, index=df.index)
    return df["phantom_seed"].map(_cell) != ""


def check_paths(df: pd.DataFrame, root: str | Path) -> list[Problem]:
    """Checks that the files of a manifest exist and lie under `root`, links followed.

    An absent file of a phantom is no problem: it is made on demand.
    """
    file, lines = str(df.attrs.get("path", root)), lines_of(df)
    base = os.path.realpath(root)
    problems, absent, checked = [], 0, 0
    columns = [df[name] for name in ("scan_id", "anterior", "posterior")]
    for scan_id, anterior, posterior, phantom in zip(*columns, is_phantom(df), strict=True):
        for column, given in (("anterior", anterior), ("posterior", posterior)):
            if not given or (column == "posterior" and given == anterior):
                continue
            checked += 1
            real = os.path.realpath(Path(root) / given)
            expected = ""
            if os.path.commonpath([base, real]) != base:
                expected = f"a file under {base}"
            elif not Path(real).exists():
                absent += not phantom
                expected = "" if phantom else "a file that exists"
            elif not Path(real).is_file():
                expected = "a regular file"
            if expected:
                problems.append(Problem(file, lines.get(scan_id, 0), scan_id, column, given, expected))
    if absent and absent == checked:
        hint = f"All {absent} files are absent: is {root} the right folder?"
        problems.insert(0, Problem(file, expected="paths relative to the folder of the manifest", hint=hint))
    return problems
