"""Crate: a run as an RO-Crate 1.1, a folder that an archive takes and that says of each file what it is.

By the profile Process Run Crate 0.5: every notebook is an action with what it was given and what it made. The images,
activations and fingerprints of the scans stay behind: they are large, made again by a rerun, and of patients.
Sources: https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import json
import mimetypes
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonescan_utils import __version__
from bonescan_utils.files import sha256_file
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import RECORD, read_record
from bonescan_utils.temporaries import remove_stale, temporary
from bonescan_utils.verification import verify_run

if TYPE_CHECKING:  # of the extra `archive`
    from rocrate.rocrate import ROCrate

LEFT_BEHIND = ("features/", "store/", "fingerprints.csv")
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = {"sha256": "https://schema.org/sha256"}
"""Words that the context of RO-Crate 1.1 does not have."""
MEDIA_TYPES = {
    ".keras": "application/zip", ".ipynb": "application/x-ipynb+json", ".tex": "application/x-tex",
    ".npy": "application/octet-stream", ".csv": "text/csv",
}  # fmt: skip
SOFTWARE = "#bonescan"


def archive_run(folder: Path, out: Path, *, licence: str = "") -> int:
    """Writes a run as an RO-Crate; returns the number of its files.

    Args:
        folder: The run folder.
        out: A new or an empty folder.
        licence: Address or words of the licence of the results; '' for "not stated".

    Raises:
        StudyError: The run is not as it was recorded, `out` is not empty, or the package rocrate is not installed.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise StudyError("an RO-Crate needs the extra 'archive': pip install -e '.[archive]'") from None
    if out.exists() and any(out.iterdir()):
        raise StudyError(f"{out}: holds files; expected a new or an empty folder for --out")
    _require_as_recorded(folder)
    record = read_record(folder)
    crate = ROCrate(version="1.1", gen_preview=False)
    crate.metadata.extra_terms.update(TERMS)
    _describe(crate, record, licence)
    names = [RECORD, *(name for name in record["files"] if not name.startswith(LEFT_BEHIND))]
    for name in names:
        crate.add_file(folder / name, name, properties=_about(folder / name, name, record))
    for step in record["steps"]:
        if step["status"] == "done":
            _add_action(crate, step, set(names))
    _write(crate, out)
    return len(names)


def _write(crate: ROCrate, out: Path) -> None:
    """Writes a crate beside its place, then puts it there: a full disk leaves no half of one.

    Raises:
        OSError: There is no room; nothing is left.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(out.parent, deep=False)
    part = temporary(out)
    try:
        crate.write(part)
        if out.exists():
            out.rmdir()  # empty, as was checked
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_as_recorded(folder: Path) -> None:
    """Checks that the files of a run are those of its record; manifest and scans are not archived, nor asked for."""
    found = verify_run(folder).differing
    own = found[~found["kind"].isin(["manifest", "inputs"])]
    if len(own):
        raise StudyError(
            f"run {folder.name}: {len(own)} files are not as recorded, such as {own['file'].iloc[0]}; see"
            f" bonescan verify {folder.name}"
        )


def _describe(crate: ROCrate, record: Mapping[str, Any], licence: str) -> None:
    """Describes the whole: the run, its licence, its profile, and the software."""
    synthetic = " Synthetic phantom cohort, no clinical data." if record["notes"].get("synthetic") else ""
    root = crate.root_dataset
    crate.name = f"Bone-scan study, run {record['run']}"
    crate.description = (
        "Classification of whole-body bone scans for metastases: predictions, models, tables, figures and executed"
        f" notebooks of one run, with its record ({RECORD}).{synthetic} Research use only."
    )
    root["datePublished"] = record["finished"]
    root["license"] = licence or "not stated"
    root["conformsTo"] = crate.add(_entity(crate, PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"))
    git = record["environment"]["git"]
    software = {"name": "bonescan-utils", "version": __version__, "softwareVersion": git.get("revision", __version__)}
    crate.add(_entity(crate, SOFTWARE, "SoftwareApplication", **software))
    manifest = {"name": record["manifest"]["name"], "sha256": record["manifest"]["sha256"]}
    manifest["description"] = "The manifest of the scans; it stays with the scans"
    crate.add(_entity(crate, "#manifest", "CreativeWork", **manifest))


def _about(path: Path, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the crate says of a file."""
    known = record["files"].get(name) or {"sha256": sha256_file(path)}
    media = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    about: dict[str, Any] = {"name": name, "encodingFormat": media, "sha256": known["sha256"]}
    about["contentSize"] = str(path.stat().st_size)
    return about | ({"@type": ["File", "SoftwareSourceCode"]} if path.suffix == ".ipynb" else {})


def _add_action(crate: ROCrate, step: Mapping[str, Any], names: set[str]) -> None:
    """Adds what one notebook did: its parameters, the files that it made, when it ended."""
    given = [
        crate.add(_entity(crate, f"#{step['name']}/{key}", "PropertyValue", name=key, value=json.dumps(value)))
        for key, value in step["parameters"].items()
    ]
    made = [crate.dereference(str(output["path"])) for output in step["outputs"] if str(output["path"]) in names]
    notebook = crate.dereference(f"notebooks/{step['name']}.ipynb")
    about = {"name": f"Notebook {step['name']}", "endTime": step["finished"]}
    instrument = notebook or crate.dereference(SOFTWARE)
    if notebook:
        notebook["softwareRequirements"] = crate.dereference(SOFTWARE)
    action = {"object": [*given, crate.dereference("#manifest")], "result": made, "properties": about}
    crate.add_action(instrument, identifier=f"#run-{step['name']}", **action)


def _entity(crate: ROCrate, identifier: str, kind: str, **properties: Any) -> Any:
    from rocrate.model.contextentity import ContextEntity

    return ContextEntity(crate, identifier, properties={"@type": kind, **properties})
