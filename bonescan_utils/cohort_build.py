"""Cohort building: rules in their order, then a 1:1 sample if one is wanted; every scan is in, or out with a reason.

The boxes of the flow add up, and the prevalence before sampling is kept: scores are transported to it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT
from bonescan_utils.cohort_rules import RULES, CohortError, Rule, parse_rules
from bonescan_utils.groups import share_of_scans
from bonescan_utils.intervals import undefined
from bonescan_utils.manifest import of_study
from bonescan_utils.partitions import assign_partitions, take
from bonescan_utils.predictions import ArmScores
from bonescan_utils.sampling import Sample, draw_sample
from bonescan_utils.tables import table_one

FIRST_STEP = "Scans in the manifest"


@dataclass(frozen=True)
class Cohort:
    """A cohort that was built.

    Attributes:
        table: Rows of the manifest that are in it.
        excluded: scan_id, rule, reason of all others.
        flow: step, n, excluded, reason; see `flow.check_flow`.
        prevalence: stage (`eligible`, `sampled`), n, n_positive, prevalence, ci_low, ci_high, method: the first is
            what a clinic sees and what scores are transported to; the second is what a 1:1 sample made of it.
        eligible: Rows before sampling, to compare with.
        record: Rules, sampling and seed, for the run's record.
    """

    table: pd.DataFrame
    excluded: pd.DataFrame
    flow: pd.DataFrame
    prevalence: pd.DataFrame
    eligible: pd.DataFrame
    record: dict[str, Any]


def build_cohort(df: pd.DataFrame, rules: Sequence[str], *, sampling: str = "none", seed: int = 0) -> Cohort:
    """Applies rules in their order, then draws a sample.

    Args:
        df: A manifest; `read_manifest(path, labelled=False)` where labels may be missing.
        rules: Such as `DEFAULT_RULES`.
        sampling: `none`, `random:500` or `matched:500`: so many scans of each label; see `sampling`.
        seed: Of the sample; it is recorded.

    Raises:
        CohortError: A rule or the sampling is unknown, a column is missing, or no scan is left.
    """
    parsed, sample = parse_rules(rules), Sample.parse(sampling, seed=seed)
    left = df
    flow: list[dict[str, Any]] = [{"step": FIRST_STEP, "n": len(df), "excluded": 0, "reason": ""}]
    excluded: list[tuple[str, str, str]] = []
    for rule in parsed:
        _check_columns(df, rule)
        reasons = RULES[rule.name].reasons(left, rule.argument)
        left = _applied(left, reasons, rule.name, rule.step, flow, excluded)
    eligible = left
    if sample.kind != "none":
        reasons = draw_sample(left, sample)
        left = _applied(left, reasons, "sampling", sample.step, flow, excluded)
    if left.empty:
        raise CohortError(f"no scan is left; the last step is {flow[-1]['step']!r} ({flow[-1]['reason']})")
    stages = {"eligible": eligible} | ({"sampled": left} if sample.kind != "none" else {})
    return Cohort(
        left.reset_index(drop=True),
        pd.DataFrame(excluded, columns=pd.Index(["scan_id", "rule", "reason"])),
        pd.DataFrame(flow),
        pd.DataFrame([_prevalence(stage, rows) for stage, rows in stages.items()]),
        eligible.reset_index(drop=True),
        {"rules": [f"{rule.name}:{rule.argument}".rstrip(":") for rule in parsed], "sampling": sampling, "seed": seed},
    )


def select_scans(
    df: pd.DataFrame, rules: Sequence[str] = (), *, sampling: str = "none", n_scans: int = 0, seed: int = 0
) -> Cohort:
    """Builds the cohort of a run: rules, sampling, partitions, then so many scans of it as are wanted.

    Args:
        df: A manifest; partitions that it brings are kept. Columns that no study uses are left behind.
        rules, sampling, seed: See `build_cohort`; the seed is that of the partitions as well.
        n_scans: Use this many scans, whole patients, in proportion by partition and label; 0 for all.

    Raises:
        CohortError: See `build_cohort`.
    """
    found = build_cohort(df[of_study(df.columns)], rules, sampling=sampling, seed=seed)
    table = found.table.assign(partition=assign_partitions(found.table, seed=seed))
    kept = take(table, n_scans, seed=seed).reset_index(drop=True) if n_scans else table
    out = table.loc[~table["scan_id"].isin(kept["scan_id"]), "scan_id"]
    if out.empty:
        return replace(found, table=table)
    step = {"step": "Drawn for this run", "n": len(kept), "excluded": len(out)}
    flow = pd.concat([found.flow, pd.DataFrame([step | {"reason": f"{len(out):,} not drawn"}])], ignore_index=True)
    rest = pd.DataFrame({"scan_id": out, "rule": "n_scans", "reason": "not drawn"})
    return replace(found, table=kept, flow=flow, excluded=pd.concat([found.excluded, rest], ignore_index=True))


def _check_columns(df: pd.DataFrame, rule: Rule) -> None:
    for column in RULES[rule.name].columns:
        names = (column,) if isinstance(column, str) else column
        if not set(names) & set(df.columns):
            raise CohortError(f"rule {rule.name!r} needs the column {' or '.join(names)}, which the manifest lacks")


def _applied(
    rows: pd.DataFrame, reasons: pd.Series, rule: str, step: str, flow: list[dict[str, Any]], excluded: list[Any]
) -> pd.DataFrame:
    """Takes rows with a reason out; adds a box to the flow and the rows to the excluded."""
    out = reasons[reasons != ""]
    tally = out.value_counts().sort_index()
    reason = "; ".join(f"{count:,} {text}" for text, count in tally.items())
    left = rows[reasons == ""]
    flow.append({"step": step, "n": len(left), "excluded": len(out), "reason": reason})
    excluded += [(scan_id, rule, text) for scan_id, text in zip(rows.loc[out.index, "scan_id"], out, strict=True)]
    return left


def _prevalence(stage: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Share of metastasis among labelled scans; patients with several scans are drawn whole."""
    known = rows.dropna(subset=["metastasis"])
    label = known["metastasis"].to_numpy().astype(np.int64)
    found = undefined("no scan has a label", 0, 0)
    if len(known):
        scans = ArmScores("", known["scan_id"].to_numpy(), known["patient_id"].to_numpy(), label, label.astype(float))
        found = share_of_scans(scans, label == 1, seed=0, n_boot=N_BOOT)
    bounds = {"ci_low": found.ci_low, "ci_high": found.ci_high, "method": found.method}
    return {"stage": stage, "n": found.n, "n_positive": found.n_positive, "prevalence": found.estimate} | bounds


def join_flows(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Returns one flow of two: the second begins with as many as the first ends with.

    Raises:
        ValueError: It does not.
    """
    if int(first["n"].iloc[-1]) != int(second["n"].iloc[0]):
        raise ValueError(f"flows do not join: {first['n'].iloc[-1]} at the end, {second['n'].iloc[0]} at the start")
    return pd.concat([first, second.iloc[1:]], ignore_index=True)


def balance(found: Cohort) -> pd.DataFrame:
    """Returns how alike the labels are before sampling and in the cohort, by tableone's standardised differences.

    Returns:
        Characteristic, eligible, sampled: absolute standardised differences between the labels as text; 0.1 or less
        is usually called balanced (Austin 2009).
    """
    columns: dict[str, Mapping[str, str]] = {}
    for stage, rows in (("eligible", found.eligible), ("sampled", found.table)):
        table = table_one(rows.dropna(subset=["metastasis"]), by="metastasis")
        (smd,) = (name for name in table.columns if name.startswith("SMD"))
        named = table[table["Characteristic"] != ""]
        columns[stage] = dict(zip(named["Characteristic"], named[smd], strict=True))
    return pd.DataFrame(columns).fillna("").rename_axis("Characteristic").reset_index()
