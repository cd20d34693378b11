"""Tables: what the study found, as the tables of a paper: wide, rounded by one rule, CSV and LaTeX."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.files import write_csv, write_text
from bonescan_utils.latex import to_latex
from bonescan_utils.wording import (
    MINUS,
    NOTHING,
    arm_text,
    format_interval,
    format_p,
    is_pretrained,
    metric_text,
    weights_text,
)

SHOWN = ("AUROC", "AUPRC", "accuracy", "sensitivity", "specificity", "PPV", "NPV", "F1")
"""Metrics of `comparison_table`, in its order."""
CHARACTERISTICS = {
    "age": "Age (years)",
    "sex": "Sex",
    "primary_cancer": "Primary cancer",
    "metastasis": "Bone metastasis",
    "site": "Site",
    "scanner": "Scanner",
}
"""Columns of the manifest that Table 1 describes, and their names there."""
PARTITION_ORDER = ("train", "tuning", "test")


# ------------------------------------------------------------------------------------------------ cohort
def table_one(df: pd.DataFrame, *, by: str = "partition") -> pd.DataFrame:
    """Describes the cohort by group: Table 1 of a paper.

    Differences between groups are standardised mean differences, not P values: whether a random split came
    out even is no hypothesis to test.

    Args:
        df: One row per scan, columns as in the manifest; a characteristic that is '' everywhere is left out.
        by: The column that makes the groups, such as `partition` or `metastasis`.

    Returns:
        All cells text: `Characteristic`, `Level`, `Missing`, `Overall`, a column per group, and one per pair
        of groups with the standardised mean difference. Numbers are mean (SD) or n (%).

    Raises:
        ValueError: `by` is not a column, there is no row, or none of the characteristics is there.
    """
    from tableone import TableOne

    if by not in df.columns or df.empty:
        raise ValueError(f"cannot describe {len(df)} scans by {by!r}; columns are {', '.join(df.columns)}")
    data = _described(df, by)
    names = [name for column, name in CHARACTERISTICS.items() if name in data.columns and column != by]
    if not names:
        raise ValueError(f"none of {', '.join(CHARACTERISTICS)} is filled in: there is nothing to describe")
    order = {by: [group for group in PARTITION_ORDER if group in set(data[by])]} if by == "partition" else None
    with warnings.catch_warnings():
        # tableone uses what pandas 4 will change, and takes the root of -0 where groups do not differ
        for kind in (DeprecationWarning, FutureWarning, RuntimeWarning):
            warnings.simplefilter("ignore", kind)
        made = TableOne(
            data, columns=names, categorical=[name for name in names if name != CHARACTERISTICS["age"]],
            groupby=by, order=order, smd=data[by].nunique() > 1, pval=False, label_suffix=True,
        )  # fmt: skip
    return _flat(made.tableone)


def _described(df: pd.DataFrame, by: str) -> pd.DataFrame:
    """Takes the characteristics under their names; '' is `unknown`, a label is yes or no."""
    present = [name for name in CHARACTERISTICS if name in df.columns]
    filled = [name for name in present if (df[name].notna() & (df[name].astype(str) != "")).any()]
    data = df[filled].reset_index(drop=True)
    group = df[by].replace("", "unknown").reset_index(drop=True)
    if "age" in data:
        data["age"] = pd.to_numeric(data["age"]).astype("float64")
    for name in [name for name in data.columns if name not in ("age", "metastasis")]:
        data[name] = data[name].astype(object).where(data[name].astype(str) != "", "unknown")
    if "metastasis" in data:
        data["metastasis"] = data["metastasis"].map({0: "no", 1: "yes"}).astype(object)
    data = data.rename(columns=CHARACTERISTICS)
    return data.assign(**{by: group.map({0: "no", 1: "yes"}) if by == "metastasis" else group.astype(object)})


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Turns tableone's two-level rows and columns into plain columns, a name written once."""
    flat = table.copy()
    flat.columns = [str(column[-1]) for column in flat.columns]
    flat.insert(0, "Level", [str(level) for _, level in flat.index])
    flat.insert(0, "Characteristic", [str(name) for name, _ in flat.index])
    flat = flat.reset_index(drop=True)
    flat["Characteristic"] = flat["Characteristic"].where(~flat["Characteristic"].duplicated(), "")
    smd = [name for name in flat.columns if name.startswith("SMD")]
    flat = flat[[name for name in flat.columns if name not in smd] + smd]
    flat[smd] = flat[smd].map(_smd)
    return flat.map(lambda cell: "" if pd.isna(cell) else str(cell))


def _smd(cell: object) -> str:
    """A standardised difference; none where a level is absent from a group, which makes it infinite."""
    text = str(cell)
    if text == "nan" or re.fullmatch(r"-?\d{2,}\..*", text):
        return NOTHING
    return text.replace("-", MINUS)


def partition_sizes(df: pd.DataFrame) -> pd.DataFrame:
    """Counts the scans of each partition.

    Args:
        df: The cohort: `partition`, `metastasis` (0 or 1).

    Returns:
        `group, n, n_positive`, a row per partition that has scans, in the order train, tuning, test.
    """
    sizes = df.groupby("partition")["metastasis"].agg(n="size", n_positive="sum")
    return sizes.reindex([name for name in PARTITION_ORDER if name in sizes.index]).rename_axis("group").reset_index()


def primary_by_label(df: pd.DataFrame) -> pd.DataFrame:
    """Counts scans by primary cancer and label: `primary_cancer, metastasis, n`, the most frequent first."""
    cancers = df["primary_cancer"].replace("", "unknown")
    total, n = cancers.value_counts(), df["metastasis"].groupby(cancers).value_counts()
    names = sorted(total.index, key=lambda name: (-total[name], name))
    rows = [(name, label, int(n.get((name, label), 0))) for name in names for label in (0, 1)]
    return pd.DataFrame(rows, columns=["primary_cancer", "metastasis", "n"])


# ------------------------------------------------------------------------------------------------- arms
def comparison_table(
    metrics: pd.DataFrame,
    tests: pd.DataFrame | None,
    weights: Mapping[str, Any],
    *,
    shown: Sequence[str] = SHOWN,
    digits: int = 2,
) -> pd.DataFrame:
    """Sets the arms side by side, as text to be read: estimates with intervals, differences, P values.

    Args:
        metrics: `arm, metric, estimate, ci_low, ci_high, n, n_positive` (`evaluation.metrics_table`).
        tests: `arm_a, arm_b, quantity, difference, ci_low, ci_high, p_holm` (`evaluation.paired_tests`), or
            None.
        weights: arm -> kind of its starting weights.
        shown: the metrics, in the order of their columns.
        digits: decimals of every estimate.

    Returns:
        A row per arm, arms without pretrained weights last and marked: `Arm`, `Starting weights`,
        `Scans (positive)`, a column per metric such as `0.93 (0.90-0.96)`, and with tests `AUROC difference`
        (reference arm minus this arm), `P, AUROC` and `P, accuracy` (Holm-adjusted).

    Raises:
        ValueError: A metric of an arm is absent, or `weights` lacks an arm.
    """
    arms = sorted(dict.fromkeys(metrics["arm"]), key=lambda arm: not is_pretrained(arm, weights))
    cells = metrics.set_index(["arm", "metric"])
    rows = []
    for arm in arms:
        absent = [metric for metric in shown if (arm, metric) not in cells.index]
        if absent:
            raise ValueError(f"metrics lack {', '.join(absent)} of arm {arm!r}")
        mark = "" if is_pretrained(arm, weights) else " (random init, not ranked)"
        size = cells.loc[(arm, shown[0])]
        row = {"Arm": arm_text(arm) + mark, "Starting weights": weights_text(arm, weights)}
        row["Scans (positive)"] = f"{size['n']} ({size['n_positive']})"
        row |= {metric_text(metric): _with_interval(cells.loc[(arm, metric)], digits) for metric in shown}
        rows.append(row | ({} if tests is None else _against_reference(tests, arm, digits)))
    return pd.DataFrame(rows, columns=None if rows else ["Arm"])


def _with_interval(row: pd.Series, digits: int) -> str:
    return format_interval(row["estimate"], row["ci_low"], row["ci_high"], digits=digits)


def _against_reference(tests: pd.DataFrame, arm: str, digits: int) -> dict[str, str]:
    """The cells that compare an arm with the reference."""
    names = ("AUROC difference", "P, AUROC", "P, accuracy")
    if arm in set(tests["arm_a"]):
        return dict(zip(names, ("reference", NOTHING, NOTHING), strict=True))
    found = {row["quantity"]: row for _, row in tests[tests["arm_b"] == arm].iterrows()}
    if "AUROC" not in found:
        return dict.fromkeys(names, NOTHING)
    difference = found["AUROC"].rename({"difference": "estimate"})
    p = [format_p(found[name]["p_holm"]) if name in found else NOTHING for name in ("AUROC", "accuracy")]
    return dict(zip(names, (_with_interval(difference, digits), *p), strict=True))


# ---------------------------------------------------------------------------------------------- writing
def write_table(
    df: pd.DataFrame, folder: str | Path, name: str, *, caption: str = "", note: str = ""
) -> tuple[Path, Path]:
    """Writes a table as `<name>.csv` (exact) and `<name>.tex` (booktabs, rounded), each atomically.

    Args:
        df: The table; its index is not written.
        folder: Where to.
        name: File name without suffix; also the LaTeX label `tab:<name>`.
        caption: Caption of the LaTeX table.
        note: A line below the LaTeX table.

    Returns:
        The paths of the CSV and of the LaTeX file.
    """
    csv, tex = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.tex"
    write_csv(csv, df)
    write_text(tex, to_latex(df, caption=caption, label=f"tab:{name}", note=note))
    return csv, tex
