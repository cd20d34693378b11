"""Decoding: the text of a file that a table was put into, or what it holds instead."""

from __future__ import annotations

from pathlib import Path

from bonescan_utils.kinds import BEGINNING, kind_of

MAX_CSV_BYTES = 1 << 30  # a manifest of a million scans has 0.3 GiB


class CsvError(ValueError):
    """A CSV that cannot be read: the file, the `line` (from 1), and `what` is wrong."""

    def __init__(self, path: str | Path, line: int, what: str) -> None:
        super().__init__(path, line, what)  # all three, so that it survives the way back from a worker
        self.line, self.what = line, what

    def __str__(self) -> str:
        return f"{self.args[0]}, line {self.line}: {self.what}"


def decoded(path: Path) -> str:
    """Returns the text of a CSV file.

    Raises:
        CsvError: It is absent, empty, too large, no text, or text in another code than UTF-8.
    """
    try:
        if not path.is_file():
            raise CsvError(path, 1, "not a file; give a CSV file" if path.exists() else "no such file; check the path")
        if path.stat().st_size > MAX_CSV_BYTES:
            raise CsvError(path, 1, f"{path.stat().st_size:,} bytes; at most {MAX_CSV_BYTES:,} are read; split it")
        data = path.read_bytes()
    except OSError as error:
        raise CsvError(path, 1, f"cannot be read ({error.strerror})") from error
    if not data.strip():
        raise CsvError(path, 1, "the file is empty; expected a header and rows")
    kind, words = kind_of(data[:BEGINNING])
    if kind not in ("text", "unknown"):
        raise CsvError(path, 1, f"it holds {words}; save the table as 'CSV UTF-8'")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CsvError(path, line, "not UTF-8 text; re-save the table as 'CSV UTF-8'") from error
