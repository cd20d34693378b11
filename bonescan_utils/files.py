"""Files: written whole or not at all, and read in one way only.

Every CSV of the study goes through `write_csv` and `read_csv` (or `read_text_csv`): ids stay text for ever
(`0007`, `1e5` and `NA` come back as they went out), a row with one field too many is an error and not a shift
of columns, and a cell that a spreadsheet would run as a formula is made inert on disk, restored on reading.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonescan_utils.decoding import CsvError, decoded
from bonescan_utils.temporaries import temporary

if TYPE_CHECKING:  # loaded where a table is made: a command that reads no table does not wait for it
    import pandas as pd

MEND = "put cells with a comma or a line break in double quotes, and give each column its own name"

TEXT_COLUMNS = frozenset(
    """
    scan_id patient_id arm arm_a arm_b anterior posterior label_source sex primary_cancer site scanner
    partition code reason file view view_source region kind metric method weights backbone hint warnings
    """.split()
)
"""Columns that `read_csv` never turns into numbers; so are all that end in `_id` or hold `sha256`."""

_NUMERAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?inf")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_STARTS = r"[=+\-@\t\r\n\x00\uff1d\uff0b\uff0d\uff20]"  # the full-width = + - @ count where they are typed
_FORMULA = re.compile(f"'*{_STARTS}")
QUOTED_FORMULA = re.compile(f"'+{_STARTS}")


def safe_text(value: object, *, limit: int = 120) -> str:
    """Returns `value` as one inert line: control and direction characters as escapes, cut at `limit`."""
    text = str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def visible(page: str) -> str:
    """Returns a page or a text of many lines with control and direction characters as escapes, line breaks kept."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), page)


@contextmanager
def write_atomic(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder; at the end of the block it takes the place of `path`.

    The temporary file is flushed to disk and renamed, so a reader sees the old file or the new one, never a
    part. On any error, Ctrl-C included, the temporary file is removed and the old file is left as it was.
    The temporary name ends in the name of `path`, so a writer that looks at suffixes works.

    Raises:
        OSError: A full disk (or quota) is reported with the path and the bytes free there; a folder in the place of
            the file, or a file in the place of its folder, as such.
    """
    path = Path(path)
    _make_folder_of(path)
    part = temporary(path)
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = f"no room to write it ({free_bytes(path):,} bytes free); an earlier file is intact"
            raise OSError(error.errno, reason, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _make_folder_of(path: Path) -> None:
    """Makes the folder of a file that is to be written; says so where the file or the folder cannot be one."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder; name a file in it", str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(errno.ENOTDIR, "its folder is a file; name another place", str(path)) from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` atomically."""
    with write_atomic(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8 with `\\n` line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, obj: Any) -> None:
    """Writes `obj` as JSON, keys in their order, indented by 2, atomically.

    Numpy scalars and arrays, paths, sets and tuples are turned into plain JSON; a number that is not finite
    becomes `null`, because JSON has no word for it.
    """
    write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(obj: Any) -> Any:
    """Returns `obj` in the types that JSON knows."""
    if isinstance(obj, dict):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (set, frozenset)):
        return [plain(value) for value in sorted(obj, key=str)]
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if hasattr(obj, "tolist"):  # numpy scalar or array
        return plain(obj.tolist())
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: The file is not JSON; the text names the file and the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({safe_text(error)}); it may be damaged") from error


def write_csv(path: str | Path, df: pd.DataFrame) -> None:
    """Writes a table as UTF-8 CSV, `\\n` line ends, no index, floats exact, atomically.

    A text cell or column name that a spreadsheet would take for a formula (it starts with = + - @ tab or a line
    break and is no number) gets a leading `'`; `read_csv` takes it off again.
    """
    import pandas as pd

    safe = df.copy()
    for position, name in enumerate(df.columns):
        if not isinstance(name, str):
            raise ValueError(f"column name {name!r}: expected text")
        if not pd.api.types.is_numeric_dtype(df.dtypes.iloc[position]):
            safe.isetitem(position, df.iloc[:, position].map(defuse).to_numpy(dtype=object))
    safe.columns = pd.Index([defuse(name) for name in df.columns], dtype=object)
    text = safe.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # Python before 3.13 leaves a cell with a lone CR unquoted
        text = safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
    write_text(path, text)


def defuse(cell: Any) -> Any:
    """Adds one `'` to text that starts like a formula, with any number of `'` before it."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMERAL.fullmatch(cell):
        return "'" + cell
    return cell


def _armed(cell: str) -> str:
    """Takes the `'` of `defuse` off."""
    return cell[1:] if QUOTED_FORMULA.match(cell) else cell


@dataclass(frozen=True)
class CsvText:
    """A CSV file as text: `header`, `rows` (as long as the header), the `lines` they begin at, `faults`."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    faults: list[tuple[int, str]] = field(default_factory=list)  # (line, what is wrong)


def parse_csv(path: str | Path) -> CsvText:
    """Reads a CSV as text and notes all its faults instead of stopping at the first.

    Raises:
        CsvError: The file cannot be read as a table at all: absent, empty, not UTF-8, too large.
    """
    path = Path(path)
    reader = csv.reader(io.StringIO(decoded(path), newline=""), strict=True)
    header: list[str] = []
    table = CsvText(header, [], [])
    line = 1
    try:
        for cells in reader:
            if not header:
                header.extend(_armed(cell).strip() for cell in cells)
            elif len(cells) == len(header):
                table.rows.append([_armed(cell) for cell in cells])
                table.lines.append(line)
            elif cells:
                table.faults.append((line, f"{len(cells)} fields where the header has {len(header)}"))
            line = reader.line_num + 1
    except csv.Error as error:
        table.faults.append((line, f"{safe_text(error)}: look for a quote that is not closed"))
    if not header:
        raise CsvError(path, 1, "no header; expected comma-separated column names")
    if len(header) == 1 and (found := re.search(r"[;|\t]", header[0])):
        names = {";": "semicolons", "|": "bars", "\t": "tabs"}
        mend = "save it with commas (in Excel the region's list separator decides)"
        raise CsvError(path, 1, f"{names[found[0]]} between the columns; {mend}")
    return table


def read_text_csv(path: str | Path) -> pd.DataFrame:
    """Reads a CSV with every cell as text, an empty cell as ''.

    Raises:
        CsvError: Anything is wrong: ragged rows, two columns of one name, an unclosed quote, not UTF-8.
    """
    import pandas as pd

    table = parse_csv(path)
    twice = sorted({name for name in table.header if table.header.count(name) > 1})
    faults = [(1, f"column {safe_text(name)!r} appears twice") for name in twice] + table.faults
    if faults:
        shown = "; ".join(f"{what} (line {line})" for line, what in faults[:5])
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CsvError(path, faults[0][0], f"{shown}{more}; {MEND}")
    return pd.DataFrame(table.rows, columns=pd.Index(table.header), dtype="str")


def read_csv(path: str | Path, *, text: Collection[str] = (), numbers: Collection[str] = ()) -> pd.DataFrame:
    """Reads a CSV: the one reader of the project.

    Everything is read as text. Then a column becomes int64, float64 or bool if all its filled cells are plain
    numerals (or True/False) and it is not known to be text (`TEXT_COLUMNS`, ids, hashes, `text`). A numeral
    with leading zeros is not plain. An empty cell of a number column is NaN; a column without any filled cell
    stays text.

    Args:
        path: The file.
        text: More columns to leave as text.
        numbers: Columns to read as float64 even when all their cells are empty.

    Raises:
        CsvError: See `read_text_csv`; also a cell of a column in `numbers` that is no number.
    """
    df = read_text_csv(path)
    for name in df.columns:
        if name in numbers or not (name in TEXT_COLUMNS or name in text or _names_text(name)):
            df[name] = _converted(df[name])
        if name in numbers:
            try:
                df[name] = df[name].replace("", "nan").astype("float64")
            except ValueError as error:
                raise CsvError(path, 1, f"column {name}: expected numbers; {safe_text(error)}") from error
    return df


def _names_text(name: str) -> bool:
    return name.endswith("_id") or "sha256" in name


def _converted(column: pd.Series) -> pd.Series:
    """Returns the column as numbers or truth values if every filled cell is one, else as it came."""
    filled = [cell for cell in column if cell != ""]
    if not filled:
        return column
    if len(filled) == len(column) and all(cell in ("True", "False") for cell in filled):
        return column == "True"
    if len(filled) == len(column) and all(_INTEGER.fullmatch(cell) for cell in filled):
        return column.astype("int64")
    if all(_NUMERAL.fullmatch(cell) for cell in filled):
        return column.map(lambda cell: float(cell) if cell else math.nan).astype("float64")
    return column


def sha256_file(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def free_bytes(path: str | Path) -> int:
    """Returns the bytes free on the disk that holds `path`, which need not exist yet."""
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
