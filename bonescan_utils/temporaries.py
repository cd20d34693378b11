"""Temporaries: names of files that are being written, which tell those that a killed process left behind."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from bonescan_utils.processes import host_mark, process_mark, runs

PREFIX = ".tmp-"
_NAME = re.compile(r"\.tmp-([0-9a-f]{6})-([0-9]+\.[0-9]+)-[0-9a-f]{8}-.+", re.DOTALL)
OLD_S = 86_400
"""Seconds after which a temporary of another host, of which nobody here can tell, is taken for left behind."""


def temporary(path: Path) -> Path:
    """Return a new name in the folder of `path`: with the mark of this process, and ending in the name of `path`."""
    return path.parent / f"{PREFIX}{host_mark()}-{process_mark()}-{secrets.token_hex(4)}-{path.name}"


def remove_stale(folder: Path, *, deep: bool = True) -> int:
    """Remove what killed processes left half written in a folder; return the number of files and folders.

    Args:
        folder: The folder; it need not exist.
        deep: Look into the folders below it too.
    """
    found = folder.rglob(f"{PREFIX}*") if deep else folder.glob(f"{PREFIX}*")
    stale = [path for path in _listed(found) if _is_stale(path)]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def _listed(found: Iterator[Path]) -> list[Path]:
    """Return the paths of a search that another process may disturb by removing a folder under it."""
    try:
        return list(found)
    except FileNotFoundError:
        return []


def _is_stale(path: Path) -> bool:
    """Whether a path is a temporary of this user whose writer is gone."""
    name = _NAME.fullmatch(path.name)
    try:
        about = path.lstat()
    except OSError:  # its writer has just finished it
        return False
    if name is None or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        return False
    return not runs(name[2]) if name[1] == host_mark() else time.time() - about.st_mtime > OLD_S
