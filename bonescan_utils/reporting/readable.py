"""Readable: a table of the run as a table of a paper: estimates with their intervals, one rule of rounding.

The CSV of a table stays exact; what is printed (web page, LaTeX, Word) goes through `readable`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bonescan_utils.wording import (
    MINUS,
    NOTHING,
    P_VALUES,
    WEIGHTS_TEXT,
    arm_text,
    format_interval,
    format_number,
    format_p,
    metric_text,
)

ROUNDING = (
    "Rounding, one rule for all tables: estimates and their 95 % intervals to two decimals, half up; P values to three"
    " decimals below 0.1, to two above, and <0.001 below that; other numbers to three decimals; counts in full. The CSV"
    " files hold every digit."
)
UNDEFINED = "undefined: "
DIGITS = 3
"""Decimals of a number that is neither an estimate nor a P value."""
INTERVALS = {
    ("estimate", "ci_low", "ci_high"): "Estimate (95 % CI)",
    ("difference", "difference_low", "difference_high"): "Difference (95 % CI)",
    ("difference", "ci_low", "ci_high"): "Difference (95 % CI)",
    ("observed", "ci_low", "ci_high"): "Observed (95 % CI)",
    ("expected", "ci_low", "ci_high"): "Expected (95 % CI)",
    ("gain", "gain_low", "gain_high"): "Gain (95 % CI)",
}
"""Three columns that become one: what was found and its two bounds; and the name of the one."""
HEADINGS = {
    "arm": "Arm", "arm_a": "Arm", "arm_b": "Compared with", "n": "Scans", "n_positive": "With metastasis", "p": "P",
    "p_holm": "P, Holm-adjusted", "tp": "True positive", "fn": "False negative", "fp": "False positive",
    "tn": "True negative", "y_true": "Metastasis", "y_score": "Score", "lr": "Learning rate", "l2": "L2 penalty",
    "md5": "MD5", "scan_id": "Scan", "n_failed": "Failed", "fixed": "Held fixed", "at": "At",
    "fpr": "1 \N{MINUS SIGN} specificity", "tuning_auroc": "Tuning AUROC", "fold_mean": "Mean of folds",
    "fold_sd": "SD of folds", "fold_min": "Lowest fold", "fold_max": "Highest fold", "pooled_min": "Lowest pooled",
    "pooled_max": "Highest pooled", "pooled_sd": "SD of pooled",
}  # fmt: skip
"""Names of columns where underscores turned into blanks do not say enough."""
ARM_COLUMNS = ("arm", "arm_a", "arm_b")
LABELS = ("metastasis", "y_true")
"""Columns of reference labels, 0 or 1."""
MOST_COLUMNS = 8
"""A table with more is turned round, if that makes it narrower."""
KEYS = ("factor", "group", "prevalence", "arm")
"""What a row of a long table of metrics is about; its metrics go side by side."""
EST = ("estimate", "ci_low", "ci_high", "method", "n", "n_positive")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table as text to be read.

    An estimate and its two bounds become one cell, such as `0.93 (0.90-0.96)`; arms and metrics get their names; a
    number that does not exist is a dash; a column that is empty in every row is left out. A table of metrics of
    several arms has the arms side by side; one too wide for a page, and short, is turned round.

    Args:
        table: A table of the run, as read from its CSV.
    """
    keys = [name for name in KEYS if name in table]
    if {"metric", *EST} <= set(table) <= {"metric", *EST, *keys, "note"} and keys:
        if keys == ["arm"] and table["arm"].nunique() > 1:
            return _arms_across(table)
        if keys != ["arm"]:
            table = _metrics_across(table, keys)
    rows = _without_empty(table)
    for names, heading in INTERVALS.items():
        if set(names) <= set(rows):
            rows = _joined(rows, names, heading)
    texts = {_heading(str(name)): _cells(str(name), rows[name]) for name in rows}
    shown = pd.DataFrame(texts, columns=list(texts), dtype="str")
    return _turned(shown) if shown.shape[1] > MOST_COLUMNS and 0 < len(shown) <= MOST_COLUMNS else shown


def _arms_across(metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of metrics with a row per metric and a column per arm."""
    names = list(dict.fromkeys(metrics["metric"]))
    across = metrics.assign(cell=_found(metrics)).pivot_table(
        index="metric", columns="arm", values="cell", aggfunc="first", sort=False
    )
    shown = across.reindex(names).fillna(NOTHING)
    shown.columns = [_arm(str(arm)) for arm in shown.columns]
    shown.insert(0, "Metric", [_metric(name) for name in names])
    return shown.reset_index(drop=True).astype("str")


def _metrics_across(metrics: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Returns a table with a row per arm and group, and a column per metric; a missing estimate is a dash."""
    rows = metrics.drop_duplicates(keys)[[*keys, "n", "n_positive"]].reset_index(drop=True)
    for metric in dict.fromkeys(metrics["metric"]):
        some = metrics[metrics["metric"] == metric]
        cells = some[keys].assign(**{_metric(metric): _found(some)})
        rows = rows.merge(cells, on=keys, how="left", validate="1:1")
    return rows.fillna(dict.fromkeys(map(_metric, dict.fromkeys(metrics["metric"])), NOTHING))


def _found(rows: pd.DataFrame) -> list[str]:
    """Returns estimates with their intervals, and where there is none, why, in the first words of the reason."""
    reasons = rows["note"].where(rows["note"] != "", rows["method"]) if "note" in rows else rows["method"]
    cells = zip(_intervals(rows, EST[:3]), reasons.astype(str), strict=True)
    return [reason.partition(":")[0] or NOTHING if cell == NOTHING else cell for cell, reason in cells]


def _intervals(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Returns estimates with their intervals as text, with the en dash of print."""
    numbers = rows[list(names)].astype(float)
    return [_printed(format_interval(*row)) for row in numbers.itertuples(index=False)]


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """Leaves out the columns in which no row has anything."""
    filled = [name for name in table if not (table[name].isna() | (table[name].astype(str) == "")).all()]
    return table[filled if len(table) else list(table)]


def _joined(rows: pd.DataFrame, names: Sequence[str], heading: str) -> pd.DataFrame:
    """Puts one column of estimates with intervals in the place of three."""
    cells = _intervals(rows, names)
    place = list(rows).index(names[0])
    rest = rows.drop(columns=list(names))
    rest.insert(min(place, rest.shape[1]), heading, cells)
    return rest


def methods_sentence(table: pd.DataFrame) -> str:
    """Returns how the intervals (`method`) or the tests (`test`) of a table were made, by what they are of.

    Such as `95 % intervals: DeLong (AUROC); Wilson (Accuracy, Sensitivity).`, and what is undefined with the reason,
    such as `Undefined: PPV (no scan was called positive).`; '' for a table that does not say.
    """
    pairs = ("test", "quantity"), ("method", "ci_low")
    how = next((name for name, beside in pairs if {name, beside} <= set(table)), "")
    if not how:
        return ""
    said = table[table[how].notna() & (table[how] != "") & ~table[how].astype(str).str.startswith("undefined")]
    what = next((name for name in ("quantity", "metric") if name in table), "")
    parts = [f"{name} ({_of_what(rows[what])})" if what else str(name) for name, rows in said.groupby(how, sort=False)]
    made = f"{'Tests' if how == 'test' else '95 % intervals'}: {'; '.join(parts)}." if parts else ""
    return " ".join(filter(None, [made, _undefined(table, what)]))


def _undefined(table: pd.DataFrame, what: str) -> str:
    """Returns which estimates do not exist and why, as `method` and `note` say after `undefined:`; '' if all do."""
    found: dict[str, list[str]] = {}
    for column in [name for name in ("method", "note") if name in table]:
        said = table[column].fillna("").astype(str)
        for place in said.index[said.str.startswith(UNDEFINED)]:
            named = [f"{_arm(str(table.at[place, 'arm']))}:"] if "arm" in table and table["arm"].nunique() > 1 else []
            named += [_metric(str(table.at[place, what]))] if what else []
            found.setdefault(said[place].removeprefix(UNDEFINED), []).append(" ".join(named))
    parts = [f"{', '.join(filter(None, dict.fromkeys(names)))} ({reason})".strip() for reason, names in found.items()]
    return f"Undefined: {'; '.join(parts)}." if parts else ""


def _of_what(metrics: pd.Series) -> str:
    return ", ".join(_metric(str(name)) for name in dict.fromkeys(metrics))


def _metric(name: str) -> str:
    return _spaced(metric_text(name))


def _heading(name: str) -> str:
    """Returns the name of a column as shown; one with a blank or a capital is a name already."""
    if name in HEADINGS:
        return HEADINGS[name]
    if " " in name or not name.islower():
        return name
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _cells(name: str, column: pd.Series) -> list[str]:
    """Returns the cells of one column as text."""
    numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if name in LABELS:
        return ["yes" if value == 1 else "no" if value == 0 else NOTHING for value in column]
    if name in P_VALUES and numbers:
        return [format_p(float(value)) for value in column]
    if numbers:
        return _numbers(column)
    wording: dict[str, Callable[[str], str]] = dict.fromkeys(ARM_COLUMNS, _arm)
    wording |= dict.fromkeys(("factor", "map", "reference", "measure"), _spaced)
    wording |= {"metric": _metric, "weights": lambda kind: WEIGHTS_TEXT.get(kind, kind)}
    return [wording.get(name, _printed)(_text(value)) for value in column]


def _numbers(column: pd.Series) -> list[str]:
    """Returns numbers as counts where all of them are whole, else with `DIGITS` decimals."""
    values = [float(value) for value in column]
    finite = [value for value in values if math.isfinite(value)]
    if all(value.is_integer() for value in finite):
        return [f"{value:,.0f}".replace("-", MINUS) if math.isfinite(value) else NOTHING for value in values]
    return [format_number(value, DIGITS) for value in values]


def _text(value: Any) -> str:
    """Returns a cell that is no number as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if pd.isna(value) else str(value)


def _arm(arm: str) -> str:
    return _spaced(arm_text(arm))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _printed(text: str) -> str:
    """Returns text with the en dash of print between the bounds of an interval."""
    return re.sub(r"(?<=\d)-(?=\d[\d.]*\))", "\N{EN DASH}", text)


def _turned(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table with its first column as heading: a row per column, a column per row."""
    first = table.columns[0]
    heads = [str(value) for value in table[first]]
    if len(set(heads)) < len(heads):
        return table
    columns = {first: list(table.columns[1:])}
    columns |= {head: list(table.iloc[row, 1:]) for row, head in enumerate(heads)}
    return pd.DataFrame(columns, dtype="str")
