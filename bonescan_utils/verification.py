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
        unknown: Files of the manifest and the scans that are on record, and of which nobody knows here where they are.
    """

    run: str
    files: pd.DataFrame
    record_sha256: str
    unknown: int = 0

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


def verify_run(folder: Path, *, manifest: str = "") -> Verification:
    """Hashes everything that a run has on record again.

    Where manifest and scans are is kept beside a run folder, not in it. Of a folder that was handed on it is not known;
    then they are counted and not looked for.

    Args:
        folder: The run folder.
        manifest: Where the manifest is now, with the scans beside it as they were; '' for where it was.

    Raises:
        StudyError: The run has no record, or none with hashes because it has not ended.
    """
    record = read_record(folder)
    if "files" not in record:
        raise StudyError(
            f"{folder.name}/{RECORD} has no hashes: the run has not come to its end ({record['status']}). Complete it"
            " with the command that started it"
        )
    path = Path(manifest) if manifest else read_whereabouts(folder).get("manifest")
    rows = [*_own(folder, record)]
    rows += [*_manifest(path, record), *_inputs(folder, record, path.parent)] if path else []
    files = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    unknown = 0 if path else 1 + len(_inputs_as_recorded(folder, record))
    return Verification(folder.name, files, sha256_file(folder / RECORD), unknown)


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


def _manifest(path: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Gives the row of the manifest."""
    expected = str(record["manifest"]["sha256"])
    found = _sha256(path)
    yield "manifest", path.name, _status(expected, found), expected, found


def _inputs_as_recorded(folder: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the files of the scans that were used; none if their list is not as recorded, which `_own` tells."""
    as_recorded = _sha256(folder / INPUTS) == record["files"].get(INPUTS, {}).get("sha256")
    return read_inputs(folder) if as_recorded else []


def _inputs(folder: Path, record: Mapping[str, Any], root: Path) -> Iterator[tuple[str, ...]]:
    """Gives a row per file of the scans that were used."""
    for row in _inputs_as_recorded(folder, record):
        expected, found = str(row["sha256"]), _sha256(root / str(row["file"]))
        yield "inputs", str(row["file"]), _status(expected, found), expected, found


def _sha256(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _status(expected: str, found: str) -> str:
    if not expected:
        return "added"
    if not found:
        return "missing"
    return "unchanged" if expected == found else "changed"
