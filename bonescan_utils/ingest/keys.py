"""Keys: pseudonyms by a keyed hash. Who has the key can tell whose a pseudonym is; who has not, cannot."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bonescan_utils.files import write_atomic

KEY_BYTES = 32
DIGITS = 16
"""Hexadecimal digits of a pseudonym: among a million patients two share one with a chance of 3e-8."""


class KeyFileError(Exception):
    """The key file cannot be used as it is; the text says why and what to do."""


@dataclass(frozen=True)
class Pseudonyms:
    """Makes pseudonyms with one key: HMAC-SHA-256 (RFC 2104), cut to 64 bits."""

    key: bytes

    def token(self, kind: str, *parts: str, digits: int = DIGITS) -> str:
        """Returns `digits` hexadecimal digits for some text; another `kind` gives others for the same text."""
        text = "\x1f".join([kind, *(unicodedata.normalize("NFKC", part).strip() for part in parts)])
        return hmac.new(self.key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:digits]


def default_key_file() -> Path:
    """Returns where the key is kept if no place is named: `~/.bonescan/ingest.key`."""
    return Path.home() / ".bonescan" / "ingest.key"


def load_key(path: Path, *, output: Path) -> bytes:
    """Reads the key, or makes it: once, readable by its owner only.

    Args:
        path: The key file; made with mode 600 if it is not there.
        output: The folder that ingest writes to.

    Raises:
        KeyFileError: The key would lie inside `output`, is no key, or may be read by other users.
    """
    if output.resolve() in path.resolve().parents:
        raise KeyFileError(f"key file {path}: it lies in the folder of the manifest; keep it elsewhere (--key FILE)")
    if not path.exists():
        _make(path)
    if not path.is_file():
        raise KeyFileError(f"key file {path}: not a regular file; name another one (--key FILE)")
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"key file {path}: mode {mode:o}, others can read it; expected 600 (chmod 600)")
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.stat().st_size < 1000 else ""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        expected = f"expected {2 * KEY_BYTES} hexadecimal digits"
        raise KeyFileError(f"key file {path}: no key in it; {expected}. Restore it, or name another file (--key)")
    return key


def _make(path: Path) -> None:
    with private_files():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with write_atomic(path) as temporary:
            temporary.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")


@contextmanager
def private_files() -> Iterator[None]:
    """Files and folders made inside the block can be read by their owner only."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)
