"""Lock: one run at a time in a run folder; so of an ingest and of predictions in the folder of their results."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bonescan_utils import provenance
from bonescan_utils.processes import process_mark, runs
from bonescan_utils.profiles import StudyError
from bonescan_utils.temporaries import temporary

NAME = ".lock"


@contextmanager
def run_lock(folder: Path, *, option: str = "--run") -> Iterator[None]:
    """Hold a folder, making it if need be; nobody else can hold it meanwhile.

    A lock whose process is gone from this host is taken over. Of another host nobody can tell, so its lock
    stands until a person removes it.

    Args:
        folder: The folder.
        option: Of the command line, by which another folder is chosen.

    Raises:
        StudyError: Another process holds the folder; the text names process, host, time and the lock file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    if path.exists() and _is_dead(_holder(path)):
        _take_away(path)
    if not _take(path):
        raise StudyError(_held(path, option))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take(path: Path) -> bool:
    """Put a lock of this process in its place, whole at once, if the place is free; say whether it was."""
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": provenance.now(), "mark": process_mark()}
    text, part = json.dumps(mine), temporary(path)
    try:
        part.write_text(text, encoding="utf-8")
        os.link(part, path)  # unlike a rename, it fails where there is a lock
    except FileExistsError:
        return False
    except PermissionError:  # a disk without hard links: a kill at this very moment leaves an empty lock
        return _take_by_name(path, text)
    finally:
        part.unlink(missing_ok=True)
    return True


def _take_by_name(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    return True


def _take_away(path: Path) -> None:
    """Remove a dead lock; one that another process has put there meanwhile goes back."""
    aside = temporary(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if not _is_dead(_holder(aside)):
        os.link(aside, path)
    aside.unlink()


def _holder(path: Path) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in dict(json.loads(path.read_text(encoding="utf-8"))).items()}
    except (OSError, ValueError):
        return {}


def _is_dead(holder: dict[str, str]) -> bool:
    """Whether a holder was a process of this host that no longer runs."""
    return holder.get("host") == socket.gethostname() and not runs(holder.get("mark", holder.get("pid", "")))


def _held(path: Path, option: str) -> str:
    holder = _holder(path)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    return (
        f"another run is writing to {path.parent.resolve().name} ({who}); wait for it, or choose another folder with"
        f" {option}. If that run is gone, remove {path}"
    )
