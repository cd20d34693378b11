"""Verification: everything a run has on record, hashed again: what changed, is missing or was added since.

A record that was changed together with its files is not found out: who needs that keeps the record's own sha256
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import sha256_file
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import INPUTS, RECORD, hash_files, read_inputs, read_record
from bonescan_utils.whereabouts import read_whereabouts

STATUSES = ("unchanged", "changed", "missing", "added")
COLUMNS = ("kind", "file", "status", "expected", "found")
FOLDERS = {"store": "images", "arms": "arms"} | {
    name: name for name in "features models figures tables notebooks steps robustness".split()
}
"""Kind of the files of each folder of a run; files beside them are pages (HTML) or results."""


@dataclass(frozen=True)
class Verification:
    """What was found of a run.

    Attributes:
        run: Name of the run.
        files: `COLUMNS`: a row per file of the run, of its manifest and of its scans; `expected` and `found` are
            sha256, '' for a file that is not on record or not there.
        record_sha256: Hash of the record itself.
        located: Whether it is known where the manifest and the scans are; if not, they count as missing.
    """

    run: str
    files: pd.DataFrame
    record_sha256: str
    located: bool = True

    @property
    def differing(self) -> pd.DataFrame:
        """The rows of `files` that are not as they were recorded."""
        return self.files[self.files["status"] != "unchanged"]

    def summary(self) -> pd.DataFrame:
        """Returns kind, recorded, and how many files have each status; kinds in the order of `files`."""
        kinds = list(dict.fromkeys(self.files["kind"]))
        counts = pd.crosstab(self.files["kind"], self.files["status"])
        counts = counts.reindex(index=kinds, columns=list(STATUSES), fill_value=0)
        counts.insert(0, "recorded", counts.drop(columns="added").sum(axis=1))
        return counts.rename_axis(index="kind", columns=None).reset_index()


def verify_run(folder: Path, manifest: Path | None = None) -> Verification:
    """Hashes everything that a run has on record again.

    Args:
        folder: The run folder.
        manifest: The manifest, with the scans relative to it; where they were, relative to the run folder, if None.

    Raises:
        StudyError: The run has no record, or none with hashes because it has not ended.
    """
    record = read_record(folder)
    if "files" not in record:
        raise StudyError(
            f"{folder.name}/{RECORD} has no hashes: the run has not come to its end ({record['status']}). Complete it"
            " with the command that started it"
        )
    manifest = manifest or read_whereabouts(folder).get("manifest")
    rows = [*_own(folder, record), _manifest(manifest, record), *_inputs(folder, record, manifest)]
    files = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return Verification(str(record["run"]), files, sha256_file(folder / RECORD), located=manifest is not None)


def _own(folder: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Gives a row per file of the run folder."""
    expected, found = record["files"], hash_files(folder)
    for name in sorted({*expected, *found}, key=lambda name: (kind_of(name), name)):
        hashes = (expected.get(name, {}).get("sha256", ""), found.get(name, {}).get("sha256", ""))
        yield (kind_of(name), name, _status(*hashes), *hashes)


def kind_of(name: str) -> str:
    """Returns what a file of a run is, by its path in the run folder."""
    top, slash, _ = name.partition("/")
    if slash:
        return FOLDERS.get(top, "results")
    return "pages" if name.endswith(".html") else "results"


def _manifest(path: Path | None, record: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the row of the manifest."""
    expected, found = str(record["manifest"]["sha256"]), _sha256(path)
    return "manifest", str(record["manifest"]["name"]), _status(expected, found), expected, found


def _inputs(folder: Path, record: Mapping[str, Any], manifest: Path | None) -> Iterator[tuple[str, ...]]:
    """Gives a row per file of the scans that were used; none if their list is not as recorded, which `_own` tells."""
    if _sha256(folder / INPUTS) != record["files"].get(INPUTS, {}).get("sha256"):
        return
    for row in read_inputs(folder):
        expected, found = str(row["sha256"]), _sha256(manifest and manifest.parent / str(row["file"]))
        yield "inputs", str(row["file"]), _status(expected, found), expected, found


def _sha256(path: Path | None) -> str:
    """Returns the hash of a file; '' where it is not there, or where it would be is not known."""
    return sha256_file(path) if path is not None and path.is_file() else ""


def _status(expected: str, found: str) -> str:
    if not expected:
        return "added"
    if not found:
        return "missing"
    return "unchanged" if expected == found else "changed"
