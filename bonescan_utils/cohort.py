"""The cohort: every row of a manifest ends as used or as quarantined, with a reason; the numbers add up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import sha256_file
from bonescan_utils.loading import load_file, load_scan, resolve
from bonescan_utils.manifest import assign_partitions, check_paths, is_phantom, lines_of, patient_key, read_manifest
from bonescan_utils.problems import ManifestError, Problem
from bonescan_utils.scan import VIEWS, Scan, ScanError, require_quality
from bonescan_utils.workers import in_order

__all__ = ["Ingest", "check", "describe", "ingest", "load_file", "load_scan"]

SERIAL_BELOW = 256
"""With fewer scans than this, starting worker processes costs more than it saves."""

QUARANTINE_COLUMNS = ("file", "line", "scan_id", "code", "reason", "next_step")

STEPS = {
    "Files that can be read": "absent outside not_file empty unreadable too_large checksum truncated damaged"
    " not_dicom not_image pickle decoder_missing no_view".split(),
    "Whole-body bone scans": "modality not_whole_body matrix frames energy_window views_unclear view_conflict"
    " one_view spacing pages".split(),
}
"""Steps of the flow and the codes that end there; every other code ends at `LAST_STEP`."""

LAST_STEP = "Usable images"


@dataclass(frozen=True)
class Ingest:
    """The outcome of reading a cohort.

    Attributes:
        used: The manifest's rows that are used, with `view_source`, `counts_anterior`, `counts_posterior`
            (sums; missing without the view), `pixel_mm` (row size in mm, NaN if unknown) and `warnings`.
        quarantined: file, line, scan_id, code, reason, next_step of the rows that are not.
        flow: step, n, excluded, reason: n of a step = n of the step before - excluded.
    """

    used: pd.DataFrame
    quarantined: pd.DataFrame
    flow: pd.DataFrame


def ingest(df: pd.DataFrame, root: str | Path, *, n_jobs: int = -1, progress: bool = True) -> Ingest:
    """Reads every scan of a manifest once and sorts it into used or quarantined.

    A file that differs from the hash in the manifest is quarantined, but for a phantom, which is used with a
    warning that says by how many counts it differs. Of scans with identical pixels the first is used if all
    are of one patient, and none if they are not.

    Args:
        df: From `read_manifest`, or a part of it.
        root: The folder that its paths are relative to.
        n_jobs: Worker processes; -1 is one per processor.
        progress: Show a progress bar.

    Raises:
        RuntimeError: The rows do not add up; a fault of this program.
    """
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in df.to_dict("records")]
    for row, phantom in zip(rows, is_phantom(df), strict=True):
        row["_phantom"] = bool(phantom)
    outcomes = list(_outcomes(rows, Path(root), n_jobs, progress))
    _set_aside_copies(rows, outcomes)
    good = [at for at, outcome in enumerate(outcomes) if "code" not in outcome]
    bad = [at for at, outcome in enumerate(outcomes) if "code" in outcome]
    used = _used(df.iloc[good].reset_index(drop=True), [outcomes[at] for at in good])
    lines = lines_of(df)
    quarantined = pd.DataFrame(
        [{"line": lines.get(rows[at]["scan_id"], 0), **outcomes[at]} for at in bad],
        columns=pd.Index(QUARANTINE_COLUMNS),
    )
    found = sorted([*used["scan_id"], *quarantined["scan_id"]])
    if found != sorted(df["scan_id"]):
        raise RuntimeError(f"{len(df)} rows in, {len(found)} out: a scan was lost or doubled")
    return Ingest(used, quarantined, _flow(len(df), list(quarantined["code"])))


def _outcomes(rows: list[dict[str, Any]], root: Path, n_jobs: int, progress: bool) -> Iterator[dict[str, Any]]:
    """Gives the outcome of each row in order, in parallel where that pays."""
    processes = 1 if len(rows) < SERIAL_BELOW else n_jobs
    outcome = partial(_outcome, root=root.resolve())
    yield from in_order(outcome, rows, label="Reading scans", n_jobs=processes, progress=progress)


def _outcome(row: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Reads one scan; returns what is known of it, or why it is set aside."""
    try:
        altered = _altered(row, root)
        scan = load_scan(row, root)
        warnings = [*scan.warnings, *require_quality(scan)]
    except ScanError as error:
        hint = error.hint or "Leave the scan out, or give another file."
        told = {"code": error.code, "reason": f"{error.reason}.", "next_step": hint}
        return {"scan_id": row["scan_id"], "file": _column_file(row, error.path), **told}
    if altered:
        warnings.append(_difference(row, scan))
    return {
        "scan_id": row["scan_id"],
        "view_source": "/".join(dict.fromkeys(view.view_source for view in scan.views)),
        **{f"counts_{view.name}": view.total for view in scan.views},
        "pixel_mm": scan.views[0].pixel_mm[0] if scan.views[0].pixel_mm else float("nan"),
        "warnings": "; ".join(warnings),
        "_pixels": hashlib.sha256(b"".join(view.counts.tobytes() for view in scan.views)).hexdigest(),
    }


def _altered(row: Mapping[str, Any], root: Path) -> bool:
    """Tells whether a phantom's file differs from its hash; for any other file that is an error."""
    for name in VIEWS:
        expected, given = str(row.get(f"sha256_{name}") or ""), str(row.get(name) or "")
        if not expected or not given:
            continue
        path = resolve(given, root)
        found = sha256_file(path) if path.is_file() else expected  # an absent file is told of when it is read
        if found != expected:
            if row["_phantom"]:
                return True
            raise ScanError(
                "checksum", f"SHA-256 {found[:12]}..., the manifest says {expected[:12]}...", path=path,
                hint="The file changed after the manifest was made: find out which is right.",
            )  # fmt: skip
    return False


def _difference(row: Mapping[str, Any], scan: Scan) -> str:
    """Says by how many counts a phantom made here differs from the one that was committed."""
    stated = {view: str(row.get(f"counts_{view.name}") or "") for view in scan.views}
    if not all(text.isdigit() for text in stated.values()):
        return "differs from the committed hash"
    size = sum(abs(view.total - int(text)) for view, text in stated.items())
    share = size / max(1, sum(view.total for view in scan.views))
    return f"differs from the committed hash; the totals differ by {size:,} counts ({share:.3%})"


def _column_file(row: Mapping[str, Any], path: str) -> str:
    """Returns the path as the manifest gives it."""
    given = [str(row.get(name) or "") for name in VIEWS]
    named = (name for name in given if name and Path(path).as_posix().endswith(Path(name).as_posix()))
    return next(named, given[0] or given[1])


def _set_aside_copies(rows: list[dict[str, Any]], outcomes: list[dict[str, Any]]) -> None:
    """Sets scans with the same pixels aside: all but the first, or all of them if patients differ."""
    groups: dict[str, list[int]] = {}
    for at, outcome in enumerate(outcomes):
        if "_pixels" in outcome:
            groups.setdefault(outcome.pop("_pixels"), []).append(at)
    for group in groups.values():
        one_patient = len({patient_key(rows[at]["patient_id"]) for at in group}) == 1
        ids = [str(rows[at]["scan_id"]) for at in group]
        for at in group[1:] if one_patient else group if len(group) > 1 else []:
            others = ", ".join(other for other in ids if other != str(rows[at]["scan_id"]))[:100]
            told = f"{ids[0][:100]}, which is used." if one_patient else f"{others}, of another patient."
            outcomes[at] = {
                "scan_id": rows[at]["scan_id"],
                "file": rows[at]["anterior"] or rows[at]["posterior"],
                "code": "copy" if one_patient else "shared_pixels",
                "reason": f"the same pixels as scan {told}",
                "next_step": "Drop the copy." if one_patient else "Find out whose scan it is.",
            }


def _used(df: pd.DataFrame, outcomes: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns the used rows of the manifest with what reading them told."""
    used = df.copy()
    used["view_source"] = [outcome["view_source"] for outcome in outcomes]
    for name in VIEWS:
        counts = pd.array([outcome.get(f"counts_{name}") for outcome in outcomes], dtype="Int64")
        used[f"counts_{name}"] = counts if counts.isna().any() else counts.astype("int64")
    used["pixel_mm"] = [float(outcome["pixel_mm"]) for outcome in outcomes]
    used["warnings"] = [outcome["warnings"] for outcome in outcomes]
    return used


def _flow(n: int, codes: list[str]) -> pd.DataFrame:
    """Returns the flow of scans: one row per step, with the number left and what was excluded on the way."""
    table = [{"step": "Scans in the manifest", "n": n, "excluded": 0, "reason": ""}]
    known = {code for codes in STEPS.values() for code in codes}
    for step in (*STEPS, LAST_STEP):
        here = [code for code in codes if (code in STEPS[step] if step in STEPS else code not in known)]
        n -= len(here)
        tally = pd.Series(here, dtype="str").value_counts().sort_index()
        reason = ", ".join(f"{count} {str(code).replace('_', ' ')}" for code, count in tally.items())
        table.append({"step": step, "n": n, "excluded": len(here), "reason": reason})
    return pd.DataFrame(table)


# ---------------------------------------------------------------------------------------------- checking
def check(path: str | Path, *, n_jobs: int = -1, progress: bool = True) -> list[Problem]:
    """Checks a manifest and opens every file in it as a scan; nothing is written.

    The files of a phantom may be absent: they are made on demand.

    Returns:
        All problems; an empty list if there are none.
    """
    try:
        df = read_manifest(path)
    except ManifestError as error:
        return error.problems
    root = Path(path).parent
    problems = check_paths(df, root)
    told = {problem.scan_id for problem in problems}
    there = ~(is_phantom(df) & ~on_disk(df, root)) & ~df["scan_id"].isin(list(told))
    rows = df[there].reset_index(drop=True)
    quarantined = ingest(rows, root, n_jobs=n_jobs, progress=progress).quarantined
    for item in quarantined.to_dict("records"):
        row = df[df["scan_id"] == item["scan_id"]].iloc[0]
        column = "posterior" if item["file"] == row["posterior"] != row["anterior"] else "anterior"
        expected = f"a usable bone scan, but: {item['reason']}".rstrip(".")
        problems.append(
            Problem(str(path), item["line"], item["scan_id"], column, item["file"], expected, item["next_step"])
        )
    return sorted([*_refused_partitions(df), *problems], key=lambda problem: problem.line)


def _refused_partitions(df: pd.DataFrame) -> list[Problem]:
    """Returns why a study would not start on the partitions that are given; none if it draws them itself."""
    if not (df["partition"] != "").any():
        return []
    try:
        assign_partitions(df, seed=0)
    except ManifestError as error:
        return error.problems
    return []


def on_disk(df: pd.DataFrame, root: Path) -> pd.Series:
    """Tells for each row whether all files that it names exist."""
    pairs = zip(df["anterior"], df["posterior"], strict=True)
    there = [all((root / given).exists() for given in pair if given) for pair in pairs]
    return pd.Series(there, index=df.index, dtype=bool)


def describe(df: pd.DataFrame, root: str | Path) -> str:
    """Returns a line that sums a manifest up: scans, patients, labels, partitions, phantoms to be made."""
    patients = df["patient_id"].map(patient_key).nunique()
    parts = [
        f"{len(df):,} scans of {patients:,} patients",
        f"{int(df['metastasis'].sum()):,} with metastasis",
    ]
    partitions = df["partition"].value_counts()
    given = [f"{partitions[name]:,} {name}" for name in ("train", "tuning", "test") if name in partitions]
    parts.append(" / ".join(given) if given else "no partitions given")
    absent = int((is_phantom(df) & ~on_disk(df, Path(root))).sum())
    return ", ".join(parts) + (f"; {absent:,} phantom files will be made on demand" if absent else "")
