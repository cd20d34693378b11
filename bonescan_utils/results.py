"""Results: the files that `bonescan predict` writes of a scan, and whether they are whole.

A scan's files are named by a hash of its bytes, never by the name of its file, which may be a patient's. The JSON is
written last and lists the others with their hashes: where it stands and they agree, the scan is done.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonescan_utils import __version__, provenance
from bonescan_utils.files import read_json, sha256_file, write_json
from bonescan_utils.finding import NOTICE, Finding
from bonescan_utils.gate import check_file
from bonescan_utils.profiles import StudyError
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.scan import ScanError

if TYPE_CHECKING:  # it brings TensorFlow along
    from bonescan_utils.explanation import Explained


@dataclass(frozen=True)
class Job:
    """A scan to score.

    Attributes:
        path: Its file.
        sha256: Of the file's bytes; of its path where the file is none that can be read.
        key: Hash of all that the result follows from: the file, the model, and what its run says of it.
        dicom: Whether DICOM objects are wanted.
    """

    path: Path
    sha256: str
    key: str
    dicom: bool

    @property
    def scan_id(self) -> str:
        """The scan's pseudonym, which begins the names of its files."""
        return f"scan-{self.sha256[:16]}"


def make_job(path: Path, *, made_by: Mapping[str, Any], dicom: bool) -> Job:
    """Return the job of a file.

    Args:
        path: The file.
        made_by: Plain values: what the result follows from beside the file.
        dicom: Whether DICOM objects are wanted.
    """
    try:
        check_file(path)  # one that is too large to be read is not hashed either
        sha256 = sha256_file(path)
    except (ScanError, OSError):
        sha256 = ""
    key = provenance.digest({"input": sha256, "bonescan": __version__, **made_by}) if sha256 else ""
    return Job(path, sha256 or hashlib.sha256(os.fsencode(path)).hexdigest(), key, dicom)


def require_writable(out: Path, inputs: Sequence[Path]) -> None:
    """Check, before any work, that results can be written to a folder and that it holds no scans.

    Raises:
        StudyError: The folder is among the scans, or cannot be written to.
    """
    target = out.resolve()
    for given in inputs:
        folder = given.resolve() if given.is_dir() else given.resolve().parent
        if target == folder or (given.is_dir() and target.is_relative_to(folder)):
            where = f"--out {out} lies in the folder of the scans, {folder.name}"
            raise StudyError(f"{where}; nothing is written there: name a folder beside it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StudyError(f"--out {out}: cannot be written to ({reason}); name another folder") from error


def read_whole(job: Job, out: Path) -> dict[str, Any] | None:
    """Return the record of a scan that is done, None where it is to be scored (again).

    It is done if its JSON is of the same file, model and settings, and all files that it lists are as they were
    written; DICOM objects, where they are wanted, among them.
    """
    record = _read_record(out, job.scan_id)
    if not job.key or record.get("key") != job.key or (job.dicom and record["dicom"] is None):
        return None
    for name, sha256 in record["files"].items():
        if not (out / name).is_file() or sha256_file(out / name) != sha256:
            return None
    return record


def write_result(job: Job, item: Explained, finding: Finding, out: Path, *, model: Mapping[str, Any]) -> dict[str, Any]:
    """Write all files of a scored scan, its JSON last, and return what the JSON holds.

    Args:
        job: The scan's job.
        item: The scan, scored and explained.
        finding: What the model says of it.
        out: The folder to write to.
        model: The record beside the model.
    """
    old = _read_record(out, job.scan_id)
    (out / f"{job.scan_id}.json").unlink(missing_ok=True)  # from here on the scan is not whole
    created = str(old["created"]) if old.get("key") == job.key else provenance.now()
    files, dicom = _write_pictures(item, finding, out), None
    if job.dicom:
        objects, dicom = _write_dicom(job, item, finding, out, created)
        files += objects
    record = {
        "notice": NOTICE, "scan_id": job.scan_id, **finding.to_record(),
        "views": {view.name: view.view_source for view in item.scan.views},
        "counts": {view.name: view.total for view in item.scan.views},
        "saliency": {"method": DEFAULT_METHOD, "layers": model["explained_layers"], "raw_max": item.raw_max},
        "model": {
            "run": finding.model.run, "arm": finding.model.arm, "sha256": finding.model_sha256,
            "weights": model["weights"], "override": dict(finding.model.override) or None,
        },
        "data": {"input_sha256": job.sha256, "manifest": dict(finding.model.manifest)},
        "bonescan": __version__, "created": created, "key": job.key,
        "dicom": dicom, "files": {path.name: sha256_file(path) for path in files},
    }  # fmt: skip
    write_json(out / f"{job.scan_id}.json", record)
    for name in set(old.get("files", {})) - set(record["files"]):
        (out / name).unlink(missing_ok=True)  # of an earlier model
    return record


def dicom_files(record: Mapping[str, Any], out: Path) -> list[Path]:
    """Return the DICOM objects of a scan."""
    return [out / name for name in (record["dicom"] or {}).get("files", [])]


def _read_record(out: Path, scan_id: str) -> dict[str, Any]:
    """Return the JSON of a scan; empty where there is none that can be read."""
    path = out / f"{scan_id}.json"
    try:
        record = read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    needed = {"key", "files", "dicom", "created"}
    whole = isinstance(record, dict) and needed <= set(record) and _is_list_of_files(record["files"])
    return record if whole and (record["dicom"] is None or isinstance(record["dicom"], dict)) else {}


def _is_list_of_files(files: Any) -> bool:
    """Whether these are names in the folder of the record, none elsewhere: those of an earlier model are removed."""
    return isinstance(files, dict) and all(Path(name).name == name and name != ".." for name in files)


def _write_pictures(item: Explained, finding: Finding, out: Path) -> list[Path]:
    """Write the scan with its saliency map as PNG and PDF; return their paths."""
    from bonescan_utils.explanation import overlay_cases
    from bonescan_utils.figures import plot_overlays, save_figure

    said = [finding.score_line(), finding.probability_line(), *finding.doubt_lines()]
    note = " ".join([NOTICE, *(f"{line}." for line in said)])
    figure = plot_overlays(overlay_cases([item], [""]), columns=1, note=note)
    return list(save_figure(figure, out / item.scan.scan_id))


def _write_dicom(
    job: Job, item: Explained, finding: Finding, out: Path, created: str
) -> tuple[list[Path], dict[str, Any]]:
    """Write the DICOM objects of a scan; return their paths and what the JSON says of them."""
    from bonescan_utils.gate import file_kind
    from bonescan_utils.pacs.objects import write_objects
    from bonescan_utils.pacs.source import SourceError

    if file_kind(job.path)[0] != "dicom":
        return [], {
            "files": [],
            "reason": "the source is no DICOM file: there is no patient and no study to file it under",
        }
    try:
        files = write_objects(item, finding, source=job.path, out=out, key=job.key, created=created)
    except SourceError as error:
        return [], {"files": [], "reason": str(error)}
    return files, {"files": [path.name for path in files]}
