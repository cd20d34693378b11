"""The gate: is a path a file that may be opened, and what is in it? Judged by content, never by suffix."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bonescan_utils.kinds import BEGINNING, kind_of
from bonescan_utils.scan import ScanError

MAX_FILE_BYTES = 512 << 20


def check_file(path: str | Path) -> None:
    """Checks that a path is a regular, readable file of a size that can be read.

    Raises:
        ScanError: `absent`, `not_file`, `empty`, `too_large` or `unreadable`.
    """
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ScanError("absent", "no such file", path=path, hint="Check the path and the root.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no usable path"
        raise ScanError("unreadable", f"cannot be opened ({reason})", path=path) from None
    if not stat.S_ISREG(status.st_mode):
        raise ScanError("not_file", "a folder or device; expected a regular file", path=path)
    if status.st_size == 0:
        raise ScanError("empty", "zero bytes", path=path, hint="Copy it again.")
    if status.st_size > MAX_FILE_BYTES:
        size = f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise ScanError("too_large", size, path=path)
    if not os.access(path, os.R_OK):
        raise ScanError("unreadable", "no permission to read it", path=path)


def read_small(path: str | Path, *, most: int) -> bytes:
    """Returns the bytes of a regular file of at most `most` bytes; no more than these are ever read.

    Raises:
        ScanError: See `check_file`; also `too_large`.
    """
    check_file(path)
    with Path(path).open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ScanError("too_large", f"more than {most:,} bytes; at most these are read", path=path)
    return data


def file_kind(path: str | Path) -> tuple[str, str]:
    """Returns what a file holds, as a short word (see `kinds`) and in words.

    Raises:
        ScanError: See `check_file`.
    """
    check_file(path)
    with Path(path).open("rb") as stream:
        return kind_of(stream.read(BEGINNING))
