"""Long tables: written and read row by row, so that memory does not grow with them. The same form as `files`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bonescan_utils.files import QUOTED_FORMULA, CsvError, defuse, safe_text, write_atomic


def write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Writes a table as `files.write_csv` does, one row after another; returns their number.

    Args:
        path: The CSV.
        columns: Names of the columns.
        rows: Each as long as `columns`.

    Raises:
        ValueError: A row has another length; nothing is written.
        OSError: See `files.write_atomic`.
    """
    n = 0
    with write_atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for row in rows:
            cells = [defuse(cell) for cell in row]
            if len(cells) != len(columns):
                raise ValueError(f"row {n + 1} has {len(cells)} cells; expected {len(columns)}")
            lone = any("\r" in str(cell) for cell in cells)  # Python before 3.13 leaves a lone CR unquoted
            (quoted if lone else plain).writerow(cells)
            n += 1
    return n


def read_rows(path: str | Path) -> Iterator[dict[str, str]]:
    """Gives the rows of a table, every cell as text.

    Raises:
        CsvError: It cannot be read, is not UTF-8, or has a row of another length than its header.
    """
    line = 1
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            for cells in reader:
                line = reader.line_num
                if cells and len(cells) != len(header):
                    raise CsvError(path, line, f"{len(cells)} fields where the header has {len(header)}")
                if cells:
                    restored = [cell[1:] if QUOTED_FORMULA.match(cell) else cell for cell in cells]
                    yield dict(zip(header, restored, strict=True))
    except UnicodeDecodeError as error:
        raise CsvError(path, line, "not UTF-8 text; re-save the table as 'CSV UTF-8'") from error
    except (csv.Error, OSError) as error:
        raise CsvError(path, line, safe_text(getattr(error, "strerror", None) or error)) from error
