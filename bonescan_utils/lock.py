"""Lock: one run at a time in a run folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bonescan_utils import provenance
from bonescan_utils.profiles import StudyError

NAME = ".lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder, making it if need be; nobody else can hold it meanwhile.

    A lock whose process is gone from this host is taken over. Of another host nobody can tell, so its lock
    stands until a person removes it.

    Raises:
        StudyError: Another process holds the folder; the text names process, host, time and the lock file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    _clear_dead(path)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        raise StudyError(_held(path)) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": provenance.now()}, stream)
        yield
    finally:
        path.unlink(missing_ok=True)


def _clear_dead(path: Path) -> None:
    """Remove the lock of a process of this host that no longer runs."""
    holder = _holder(path)
    if holder.get("host") == socket.gethostname() and not _alive(int(holder.get("pid", 0))):
        path.unlink(missing_ok=True)


def _holder(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _held(path: Path) -> str:
    holder = _holder(path)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    return (
        f"another run is writing to {path.parent.name} ({who}); wait for it, or choose another folder with"
        f" --run. If that run is gone, remove {path}"
    )
