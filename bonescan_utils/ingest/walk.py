"""Walk: every entry of a folder tree, each with what it is at first sight; nothing is opened here."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.directory|__MACOSX", re.IGNORECASE)
_INDEX = re.compile(r"DICOMDIR(\.dcm|\.;1|;1)?", re.IGNORECASE)

IGNORED = {
    "dicomdir": "the index of a DICOM medium; the files that it lists are read themselves",
    "system_file": "a file of the operating system",
    "link": "a link is not followed; what it leads to is read where it lies",
}
"""Codes of what is left aside without being opened, and why."""


@dataclass(frozen=True)
class Found:
    """An entry of the tree that is not a folder, or a folder that cannot be read.

    Attributes:
        path: Relative to the root, with `/`.
        size: Bytes.
        changed: Time of the last change in ns.
        code: '' for a file to read, a key of `IGNORED`, or `not_file` or `unreadable`.
    """

    path: str
    size: int = 0
    changed: int = 0
    code: str = ""


def walk(root: Path, *, without: tuple[Path, ...] = ()) -> Iterator[Found]:
    """Gives every entry under `root`, folder by folder in the order of names; links are not followed.

    Args:
        root: The folder.
        without: Folders and files to leave out, such as ingest's own output.
    """
    left_out = {str(path.resolve()) for path in without}
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield Found(folder or ".", code="unreadable")
            continue
        inner = []
        for entry in listed:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if left_out and os.path.realpath(entry.path) in left_out and not entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(path)
            else:
                yield _found(entry, path)
        folders += reversed(inner)


def _found(entry: os.DirEntry[str], path: str) -> Found:
    """Returns an entry with its code."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return Found(path, code="unreadable")
    code = ""
    if stat.S_ISLNK(status.st_mode):
        code = "link"
    elif not stat.S_ISREG(status.st_mode):
        code = "not_file"
    elif _INDEX.fullmatch(entry.name):
        code = "dicomdir"
    elif _SYSTEM.fullmatch(entry.name):
        code = "system_file"
    return Found(path, status.st_size, status.st_mtime_ns, code)
