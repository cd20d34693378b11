"""Processes: is the one that left a lock or a half-written file still at work? A mark says which it was.

A mark is the process's number and, on Linux, the moment it began, so that a number given out anew is no disguise.
"""

from __future__ import annotations

import hashlib
import os
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def host_mark() -> str:
    """Return six hexadecimal digits for this host, which do not tell its name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def process_mark(pid: int | None = None) -> str:
    """Return the mark `<pid>.<start>` of a process, this one by default; start is 0 where the system does not tell."""
    pid = pid or os.getpid()
    return f"{pid}.{_state_and_start(pid)[1]}"


def runs(mark: str) -> bool:
    """Say whether the process with a mark runs on this host; True where nobody can tell (Windows)."""
    number, _, start = mark.partition(".")
    if not number.isdecimal() or int(number) == 0:
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's: it runs
        pass
    state, began = _state_and_start(int(number))
    return state != "Z" and (start in ("", "0") or began == "0" or began == start)


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state and the start (ticks since boot) of a process, from Linux's table of processes."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", "0"
