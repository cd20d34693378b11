"""Audit: what would make a study's numbers too good: leaks, labels that contradict, scanners that tell the label.

Every finding has a severity. `leak`: a test scan is, or may be, known from training: training refuses to start.
`conflict`: one image with two labels: it refuses as well. `warning`: a shortcut or a drift to look at, or a scan that
cannot be read. `hint`: maybe one patient under two ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.duplicates import fingerprints, near_pairs
from bonescan_utils.files import write_csv
from bonescan_utils.partitions import patient_key

SEVERITIES = ("leak", "conflict", "warning", "hint")
FINDING_COLUMNS = ("severity", "check", "scan_id", "other_id", "text")

SHORTCUT_V = 0.3
"""Cramer's V from which site or scanner is said to tell the label: a medium effect for two labels (Cohen 1988)."""
DRIFT = 1.5
"""Factor between a site's median counts and those of all from which a drift is told."""
MIN_LEVEL = 10
"""Scans that a site needs to be compared."""
SHOWN = 10


class AuditError(Exception):
    """A cohort with a leak or a label conflict; the text lists the findings."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: `FINDING_COLUMNS`; a row per finding, the gravest first.
        associations: column, levels, n, cramers_v, largest_share_gap, shortcut: how well site and scanner tell the
            label.
        counts: site, n, median_counts, ratio: a site's median counts of the anterior view over those of all.
        compared, unread: Scans whose pixels were compared, and scans that could not be read.
    """

    findings: pd.DataFrame
    associations: pd.DataFrame
    counts: pd.DataFrame
    compared: int
    unread: int

    @property
    def stops(self) -> pd.DataFrame:
        """The findings that training refuses to start on."""
        return self.findings[self.findings["severity"].isin(["leak", "conflict"])]

    def __str__(self) -> str:
        numbers = {name: int((self.findings["severity"] == name).sum()) for name in SEVERITIES}
        told = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in numbers.items())
        lines = [f"{self.compared:,} scans compared, {self.unread:,} could not be read: {told}."]
        lines += [_line(row) for row in self.findings.head(SHOWN).to_dict("records")]
        lines += [f"... and {len(self.findings) - SHOWN:,} more"] * (len(self.findings) > SHOWN)
        for row in self.associations.to_dict("records"):
            lines.append(f"{row['column']} and label: Cramer's V {row['cramers_v']:.2f} ({row['levels']} levels)")
        return "\n".join(lines)


def audit(
    df: pd.DataFrame, root: str | Path, *, images: pd.Series | None = None, cache: str | Path | None = None,
    n_jobs: int = -1, progress: bool = True,
) -> Audit:  # fmt: skip
    """Audits a manifest or a cohort.

    Args:
        df: scan_id, patient_id, anterior, posterior, metastasis (NA for no label), partition, site, scanner; also
            `person_hint`, or `birth_year` with `study_day`, and `counts_anterior`, if there.
        root: The folder that its paths are relative to.
        images: Whether the images of a row are compared, indexed as `df`; all if not given.
        cache: Fingerprints made before; see `duplicates.fingerprints`.
        n_jobs: Worker processes; -1 is one per processor.
        progress: Show a progress bar.
    """
    compared = df if images is None else df[images]
    prints = fingerprints(compared, root, cache=cache, n_jobs=n_jobs, progress=progress)
    told = df.reset_index(drop=True).assign(_patient=df["patient_id"].map(patient_key).to_numpy())
    associations, counts = associations_of(told), count_levels(told)
    findings = [
        *_split_patients(told),
        *_pairs(told, prints),
        *_two_labels(told),
        *_shortcuts(associations),
        *_drifts(counts),
        *_unread(prints),
        *_hints(told),
    ]
    table = pd.DataFrame(findings, columns=pd.Index(FINDING_COLUMNS))
    order = table["severity"].map({name: at for at, name in enumerate(SEVERITIES)})
    table = table.iloc[order.argsort(kind="stable")].reset_index(drop=True)
    unread = int((prints["fault"] != "").sum())
    return Audit(table, associations, counts, len(prints) - unread, unread)


def require_no_leak(
    df: pd.DataFrame, root: str | Path, *, images: pd.Series | None = None, cache: str | Path | None = None,
    n_jobs: int = -1, progress: bool = True,
) -> Audit:  # fmt: skip
    """Audits a cohort with its partitions before training; see `audit`.

    Raises:
        AuditError: There is a leak or a label conflict; the text lists them and says what to do.
    """
    found = audit(df, root, images=images, cache=cache, n_jobs=n_jobs, progress=progress)
    if len(found.stops):
        lines = [_line(row) for row in found.stops.head(SHOWN).to_dict("records")]
        more = len(found.stops) - SHOWN
        lines += [f"... and {more:,} more (bonescan audit MANIFEST lists all)"] if more > 0 else []
        lines.append("Training does not start. Give scans of one patient one patient_id, or leave copies out.")
        raise AuditError("\n".join(lines))
    return found


def write_audit(found: Audit, manifest: str | Path) -> list[Path]:
    """Writes the three tables of an audit beside the manifest; returns their paths."""
    base = Path(manifest)
    tables = {"audit": found.findings, "audit_associations": found.associations, "audit_counts": found.counts}
    paths = []
    for name, table in tables.items():
        paths.append(base.with_name(f"{base.stem}_{name}.csv"))
        write_csv(paths[-1], table)
    return paths


def _line(row: dict[Any, Any]) -> str:
    ids = " and ".join(str(row[name]) for name in ("scan_id", "other_id") if row[name])
    return f"{row['severity']}: {ids + ': ' if ids else ''}{row['text']}"


def _finding(severity: str, check: str, text: str, *, scan: str = "", other: str = "") -> dict[str, str]:
    return {"severity": severity, "check": check, "scan_id": scan, "other_id": other, "text": text}


# ---------------------------------------------------------------------------------------------- leaks
def _split_patients(df: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Finds patients in two partitions."""
    for _, scans in df[df["partition"] != ""].groupby("_patient", sort=False):
        if scans["partition"].nunique() > 1:
            first, other = scans.iloc[0], scans[scans["partition"] != scans["partition"].iloc[0]].iloc[0]
            text = f"one patient in {first['partition']} and {other['partition']}"
            yield _finding("leak", "partitions", text, scan=first["scan_id"], other=other["scan_id"])


def _pairs(df: pd.DataFrame, prints: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Finds images that are the same, exactly or nearly, under two patients; and the same image with two labels."""
    rows = {row["scan_id"]: row for row in df.to_dict("records")}
    pixels = dict(zip(prints["scan_id"], prints["pixels"], strict=True))
    for pair in near_pairs(prints).to_dict("records"):
        a, b = rows[pair["scan_a"]], rows[pair["scan_b"]]
        exact = pixels[pair["scan_a"]] == pixels[pair["scan_b"]]
        ids = {"scan": pair["scan_a"], "other": pair["scan_b"]}
        like = "the same pixels" if exact else f"nearly the same image ({pair['bits']:g} of 256 bits differ)"
        if exact and _labels_differ(a, b):
            yield _finding("conflict", "labels", "the same pixels, and two labels", **ids)
        if a["_patient"] != b["_patient"]:
            apart = a["partition"] != b["partition"] or a["partition"] == ""
            where = f", in {a['partition']} and {b['partition']}" if a["partition"] and apart else ""
            severity = "leak" if apart or exact else "warning"
            yield _finding(severity, "duplicates", f"{like} under two patients{where}", **ids)


def _unread(prints: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Finds scans that were compared with nothing, because they could not be read."""
    for row in prints[prints["fault"] != ""].to_dict("records"):
        text = f"it cannot be read ({row['fault'].replace('_', ' ')}) and was not compared: see bonescan check"
        yield _finding("warning", "unread", text, scan=row["scan_id"])


def _labels_differ(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    known = [row["metastasis"] for row in (a, b) if not pd.isna(row["metastasis"])]
    return len(set(known)) > 1


def _two_labels(df: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Finds patients with scans of both labels: right where disease came or went, else a mistake."""
    for _, scans in df.dropna(subset=["metastasis"]).groupby("_patient", sort=False):
        if scans["metastasis"].nunique() > 1:
            ids = scans["scan_id"].tolist()
            text = f"one patient with both labels in {len(ids)} scans"
            yield _finding("warning", "labels", text, scan=ids[0], other=ids[1])


# ---------------------------------------------------------------------------------------------- shortcuts
def associations_of(df: pd.DataFrame) -> pd.DataFrame:
    """Returns how well site and scanner tell the label; an empty table without both labels or with one level each."""
    rows = []
    for column in ("site", "scanner"):
        known = df[(df[column] != "") & df["metastasis"].notna()] if column in df else df.iloc[:0]
        table = pd.crosstab(known[column], known["metastasis"].astype(int)) if len(known) else pd.DataFrame()
        if min(table.shape, default=0) < 2:
            continue
        large = table[table.sum(axis=1) >= MIN_LEVEL]
        share = large[1] / large.sum(axis=1)
        gap = float(share.max() - share.min()) if len(large) > 1 else float("nan")
        value = cramers_v(table.to_numpy())
        rows.append((column, len(table), len(known), value, gap, value >= SHORTCUT_V))
    names = ["column", "levels", "n", "cramers_v", "largest_share_gap", "shortcut"]
    return pd.DataFrame(rows, columns=pd.Index(names))


def cramers_v(table: np.ndarray) -> float:
    """Returns Cramer's V of a table of counts, corrected for its bias (Bergsma 2013, J Korean Stat Soc 42:323).

    Args:
        table: (rows, columns) counts, no row or column empty, two or more of each.
    """
    from scipy.stats import chi2_contingency

    n, (rows, columns) = table.sum(), table.shape
    phi2 = float(chi2_contingency(table, correction=False).statistic) / n
    phi2 = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min(1.0, float(np.sqrt(phi2 / least))) if least > 0 else 0.0


def _shortcuts(associations: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in associations.to_dict("records"):
        if row["shortcut"]:
            text = (
                f"{row['column']} tells the label (Cramer's V {row['cramers_v']:.2f}): a network can learn that instead"
            )
            yield _finding("warning", "shortcut", text)


def count_levels(df: pd.DataFrame) -> pd.DataFrame:
    """Returns the median counts of each site with `MIN_LEVEL` scans, and their ratio to the median of all."""
    names = pd.Index(["site", "n", "median_counts", "ratio"])
    if "counts_anterior" not in df or "site" not in df:
        return pd.DataFrame([], columns=names)
    counts = pd.to_numeric(df["counts_anterior"], errors="coerce")
    known = df[counts.notna() & (df["site"] != "")].assign(_counts=counts)
    if known.empty:
        return pd.DataFrame([], columns=names)
    overall = float(known["_counts"].median())
    sites = known.groupby("site")["_counts"].agg(n="size", median_counts="median").reset_index()
    sites = sites[sites["n"] >= MIN_LEVEL].reset_index(drop=True)
    return sites.assign(ratio=sites["median_counts"] / overall)[list(names)]


def _drifts(counts: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in counts.to_dict("records"):
        if not 1 / DRIFT <= row["ratio"] <= DRIFT:
            text = f"site {row['site']}: median counts {row['ratio']:.2f} times those of all ({row['n']} scans)"
            yield _finding("warning", "count_level", text)


# ---------------------------------------------------------------------------------------------- two ids
def _hints(df: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Finds what may be one patient under two ids."""
    if "person_hint" in df:
        named = df[df["person_hint"] != ""]
        text = "the same name, birth date and sex under two patient ids"
        yield from _same(named.groupby("person_hint", sort=False), text)
    if {"birth_year", "study_day"} <= set(df.columns):
        known = df[(df["birth_year"] != "") & (df["study_day"] != "")]
        days = known.groupby("_patient")["study_day"].agg(lambda cells: " ".join(sorted(map(str, cells))))
        pattern = known.assign(_days=known["_patient"].map(days))
        several = pattern[pattern["_days"].str.contains(" ")]
        text = "the same birth year, sex and days between scans under two patient ids"
        yield from _same(several.groupby(["birth_year", "sex", "_days"], sort=False), text)


def _same(groups: Iterable[tuple[Any, pd.DataFrame]], text: str) -> Iterator[dict[str, str]]:
    for _, scans in groups:
        for a, b in combinations(scans.drop_duplicates("_patient")["scan_id"], 2):
            yield _finding("hint", "two_ids", text, scan=a, other=b)
