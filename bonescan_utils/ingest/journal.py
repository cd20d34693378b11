"""Journal: what is known of every file of an ingest, on disk, so that it resumes and memory stays flat.

It lies beside the key, not beside the manifest: it holds the names of files. One SQLite file per key and output.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from bonescan_utils.files import safe_text
from bonescan_utils.ingest.keys import private_files
from bonescan_utils.ingest.scans import Scans
from bonescan_utils.ingest.walk import Found

FORMAT = "1"
"""Raise it when records of older code are of no use."""

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS files (
  path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, present INTEGER, file TEXT, patient TEXT, study TEXT,
  record TEXT, end TEXT, scan_id TEXT, code TEXT, reason TEXT, next_step TEXT);
CREATE INDEX IF NOT EXISTS by_study ON files (patient, study, path);
CREATE INDEX IF NOT EXISTS by_file ON files (file);
"""
PAGE = 10_000
"""Paths that are taken from disk at once."""


def open_journal(path: Path, identity: str, *, say: Callable[[str], object] = print) -> Journal:
    """Opens the journal of an ingest; one that is damaged is begun anew, which is said: all files are read again.

    Args:
        path: See `Journal`.
        identity: See `Journal`.
        say: Called with a line on a journal that is damaged.

    Raises:
        sqlite3.OperationalError: The disk is full, or the place cannot be written to.
    """
    try:
        return Journal(path, identity)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        say(f"{path.name} is damaged ({safe_text(error)}); all files are read again")
        for damaged in (path, path.with_name(f"{path.name}-journal")):  # SQLite's own, of a write cut short
            damaged.unlink(missing_ok=True)
        return Journal(path, identity)


class Journal:
    """The records of an ingest.

    Args:
        path: The SQLite file; made, for its owner only, if it is not there.
        identity: What the records depend on (root, output, key); others are dropped.

    Attributes:
        scans: The scans that the files make, in the same SQLite file.
    """

    def __init__(self, path: Path, identity: str) -> None:
        with private_files():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._base = sqlite3.connect(path)
            try:
                self._begin(identity)
            except sqlite3.Error:
                self._base.close()
                raise

    def _begin(self, identity: str) -> None:
        """Checks what is there, makes what is not, and drops what is of another ingest."""
        (found,) = self._base.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        self._base.executescript(_TABLES)
        self.scans = Scans(self._base)
        stamp = hashlib.sha256(f"{FORMAT}\n{identity}".encode("utf-8", "surrogateescape")).hexdigest()
        known = self._base.execute("SELECT value FROM about WHERE name = 'stamp'").fetchone()
        if known is None or known[0] != stamp:
            self._base.execute("DELETE FROM files")
            self._base.execute("INSERT OR REPLACE INTO about VALUES ('stamp', ?)", (stamp,))
        self._base.execute("UPDATE files SET present = 0, end = NULL, scan_id = NULL, code = NULL")
        self._base.commit()

    def close(self) -> None:
        """Writes what is pending and lets the file go."""
        self._base.commit()
        self._base.close()

    def note(self, entries: Iterable[Found]) -> None:
        """Notes what a walk found; a record stays if size and time of change are the same."""
        rows = ((_blob(found.path), found.size, found.changed) for found in entries)
        self._base.executemany(
            "INSERT INTO files (path, size, changed, present) VALUES (?, ?, ?, 1) ON CONFLICT (path) DO UPDATE SET"
            " present = 1, record = CASE WHEN size = excluded.size AND changed = excluded.changed THEN record END,"
            " size = excluded.size, changed = excluded.changed",
            rows,
        )
        self._base.commit()

    def forget_absent(self) -> None:
        """Drops what the walk did not find again."""
        self._base.execute("DELETE FROM files WHERE present = 0")
        self._base.commit()

    def name(self, path: str, file: str) -> None:
        """Notes the pseudonym of a file that is not read."""
        self._base.execute("UPDATE files SET file = ? WHERE path = ?", (file, _blob(path)))

    def forget_without_images(self, out: Path) -> None:
        """Drops the records whose images are gone: their files are read again."""
        gone = []
        for blob, text in self._base.execute("SELECT path, record FROM files WHERE record IS NOT NULL"):
            if not all((out / view["image"]).is_file() for view in json.loads(text).get("views", [])):
                gone.append((blob,))
        self._base.executemany("UPDATE files SET record = NULL WHERE path = ?", gone)
        self._base.commit()

    def pending(self) -> Iterator[list[str]]:
        """Gives the paths without a record or an end, in order, page by page; a page's records are stored before."""
        last = b""
        while rows := self._base.execute(
            "SELECT path FROM files WHERE record IS NULL AND end IS NULL AND path > ? ORDER BY path LIMIT ?",
            (last, PAGE),
        ).fetchall():
            yield [_path(blob) for (blob,) in rows]
            last = rows[-1][0]

    def n_pending(self) -> int:
        """Returns the number of paths that `pending` gives."""
        counted = self._base.execute("SELECT COUNT(*) FROM files WHERE record IS NULL AND end IS NULL")
        return int(counted.fetchone()[0])

    def store(self, path: str, record: dict[str, Any]) -> None:
        """Keeps the record of a file; see `commit`."""
        self._base.execute(
            "UPDATE files SET record = ?, file = ?, patient = ?, study = ? WHERE path = ?",
            (json.dumps(record), record["file"], record.get("patient"), record.get("study"), _blob(path)),
        )

    def commit(self) -> None:
        """Puts what was stored on disk."""
        self._base.commit()

    def settle(self, *, path: str = "", file: str = "", end: str, scan_id: str = "", why: tuple[str, ...] = ()) -> None:
        """Notes what became of a file, given by its path or its pseudonym; `why`: code, reason, next step."""
        where, key = ("path", _blob(path)) if path else ("file", file)
        code, reason, step = why or ("", "", "")
        self._base.execute(
            f"UPDATE files SET end = ?, scan_id = ?, code = ?, reason = ?, next_step = ? WHERE {where} = ?",
            (end, scan_id, code, reason, step, key),
        )

    def set_scans_aside(self, fault: str, why: tuple[str, str, str]) -> None:
        """Turns the used files of scans with a fault into quarantined ones; `why`: code, reason, next step."""
        self._base.execute(
            "UPDATE files SET end = 'quarantined', code = ?, reason = ?, next_step = ?"
            " WHERE end = 'used' AND scan_id IN (SELECT scan_id FROM scans WHERE fault = ?)",
            (*why, fault),
        )

    def refused(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Gives path and record of the files that could not be read."""
        rows = self._base.execute("SELECT path, record FROM files WHERE record IS NOT NULL AND study IS NULL")
        for blob, text in rows:
            yield _path(blob), json.loads(text)

    def uses(self, file: str, image: str) -> bool:
        """Tells whether an image is a view of a file that is used, which is given by its pseudonym."""
        row = self._base.execute("SELECT record FROM files WHERE file = ? AND end = 'used'", (file,)).fetchone()
        return row is not None and image in [view["image"] for view in json.loads(row[0])["views"]]

    def patients(self) -> Iterator[list[list[dict[str, Any]]]]:
        """Gives the records of one patient after another: a list per study, in the order of paths."""
        rows = self._base.cursor().execute(
            "SELECT patient, study, record FROM files WHERE study IS NOT NULL AND record IS NOT NULL"
            " ORDER BY patient, study, path"
        )
        for _, of_patient in groupby(rows, key=lambda row: row[0]):
            studies = groupby(of_patient, key=lambda row: row[1])
            yield [[json.loads(text) for _, _, text in study] for _, study in studies]

    def tally(self) -> list[tuple[str, str, int]]:
        """Returns (end, code, number of files); an end of '' is a file that was lost."""
        rows = self._base.execute("SELECT COALESCE(end, ''), COALESCE(code, ''), COUNT(*) FROM files GROUP BY 1, 2")
        return list(rows.fetchall())

    def quarantined(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Gives file, scan_id, code, reason and next step of each file that is set aside."""
        yield from self._base.execute(
            "SELECT file, scan_id, code, reason, next_step FROM files WHERE end = 'quarantined' ORDER BY code, file"
        )

    def links(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Gives file, path, end, scan_id and code of every file, in the order of paths."""
        rows = self._base.execute("SELECT file, path, end, scan_id, code FROM files ORDER BY path")
        for file, blob, end, scan_id, code in rows:
            yield file or "", _path(blob), end, scan_id or "", code or ""


def _blob(path: str) -> bytes:
    """A file's name is bytes: one that is no UTF-8 is kept as it is."""
    return path.encode("utf-8", "surrogateescape")


def _path(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")
