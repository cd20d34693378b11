"""Guard of every Python that is started with this folder on its path: no network, no writing to the data folder.

What is tried is refused and written down: a program that catches the error does not hide it.
"""

import os
import sys

_LOG, _DATA = os.environ["GUARD_LOG"], os.path.realpath(os.environ["GUARD_DATA"])
_HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0"}
_CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.utime"}


def _refuse(what: str) -> None:
    descriptor = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (what + "\n").encode())
    os.close(descriptor)
    raise PermissionError(f"guard: {what}")


def _in_data(path: object) -> bool:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return bool(text) and os.path.commonpath([_DATA, os.path.abspath(text)]) == _DATA  # noqa: PTH100 (links stay)


def _guard(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and str(address[0]) not in _HERE:
            _refuse(f"{event} {address}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0] or ""
        if host not in _HERE:
            _refuse(f"{event} {host}")
    elif event == "open":
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        if writes and _in_data(path):
            _refuse(f"write {path!r}")
    elif event in _CHANGES and any(_in_data(path) for path in arguments[:2]):
        _refuse(f"{event} {arguments[:2]}")


sys.addaudithook(_guard)
