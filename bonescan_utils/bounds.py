"""Bounds: what one file may cost. A file that asks for more time or memory is set aside; the rest goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bonescan_utils.scan import ScanError

SECONDS = 30
MORE_BYTES = 2 << 30

_LOCK = threading.Lock()
_OPEN: list[int] = []  # one for each block that is open, in whatever thread: the limit is that of the process
_BEFORE: list[tuple[int, int]] = []


@contextmanager
def bounded(*, seconds: int = SECONDS, more_bytes: int = MORE_BYTES) -> Iterator[None]:
    """Limits what happens inside the block, where the system can (Linux; the clock in a main thread only).

    Args:
        seconds: Time by the clock.
        more_bytes: Address space on top of what the process has.

    Raises:
        ScanError: The time is over (`too_slow`). Memory refused is a MemoryError, which the readers name.
    """
    with _memory(more_bytes), _clock(seconds):
        yield


@contextmanager
def _clock(seconds: int) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second: a library may have swallowed the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise ScanError("too_slow", f"reading it took more than {SECONDS} s", hint="Look at the file by itself.")


@contextmanager
def _memory(more_bytes: int) -> Iterator[None]:
    used = address_space()
    if not used:
        yield
        return
    import resource

    with _LOCK:
        if not _OPEN:
            _BEFORE.append(resource.getrlimit(resource.RLIMIT_AS))
            lowest = min((limit for limit in _BEFORE[0] if limit != resource.RLIM_INFINITY), default=used + more_bytes)
            resource.setrlimit(resource.RLIMIT_AS, (min(lowest, used + more_bytes), _BEFORE[0][1]))
        _OPEN.append(1)
    try:
        yield
    finally:
        with _LOCK:
            _OPEN.pop()
            if not _OPEN:
                resource.setrlimit(resource.RLIMIT_AS, _BEFORE.pop())


def address_space() -> int:
    """Returns the bytes of address space of this process; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
