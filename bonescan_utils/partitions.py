"""Partitions: every patient is in one of train, tuning and test, and in one only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd

from bonescan_utils.problems import ManifestError, Problem

PARTITIONS = ("train", "tuning", "test")
FOLDS = 10  # of which 2 are test and 1 is tuning: 70 / 10 / 20 %
MIN_PATIENTS = 3


def patient_key(patient_id: str) -> str:
    """Returns what is compared to tell patients apart: `P01`, ` p01 ` and full-width `Ｐ０１` are one."""
    return unicodedata.normalize("NFKC", str(patient_id)).strip().casefold()


def partly_given(partitions: Iterable[str]) -> bool:
    """Tells whether some rows have a partition and some have none."""
    return len({cell == "" for cell in partitions}) > 1


def assign_partitions(df: pd.DataFrame, *, seed: int) -> pd.Series:
    """Assigns scans to train (70 %), tuning (10 %) and test (20 %), whole patients at a time.

    Stratified by label and primary cancer; primaries with fewer than ten patients of a label are pooled. The
    result depends on the seed, the ids, labels and primaries, not on the order of the rows. Partitions that
    are given already are kept as they are.

    Args:
        df: A manifest.
        seed: Any whole number >= 0.

    Returns:
        `train`, `tuning` or `test` for each row of `df`, with its index.

    Raises:
        ManifestError: Only some rows have a partition, a patient is in two, train lacks a label, or there are
            fewer than three patients with each label.
    """
    given = df["partition"].map(str)
    if partly_given(given):
        raise _error(df, "partition", "blank in some rows", "a partition in every row or in none")
    if len(given) and given.iloc[0] != "":
        _check_given(df, given)
        return given.rename("partition")
    folds = _folds(df, seed)
    n_folds = int(folds.max()) + 1
    n_test, n_tuning = max(1, round(0.2 * n_folds)), max(1, round(0.1 * n_folds))
    names = ["test"] * n_test + ["tuning"] * n_tuning + ["train"] * (n_folds - n_test - n_tuning)
    return folds.map(lambda fold: names[fold]).astype("str").rename("partition")


def assign_folds(df: pd.DataFrame, *, folds: int, seed: int) -> pd.Series:
    """Assigns every scan to one of `folds` folds for cross-validation, whole patients at a time.

    Stratified and reproducible as `assign_partitions`; partitions that are given play no part.

    Args:
        df: A manifest or a cohort.
        folds: Number of folds, 2 or more.
        seed: Any whole number >= 0.

    Returns:
        The fold of each row, 0 to `folds` - 1, with its index.

    Raises:
        ManifestError: A label has fewer patients than there are folds.
        ValueError: `folds` is below 2.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected 2 or more")
    return _folds(df, seed, wanted=folds).rename("fold")


def fold_partitions(df: pd.DataFrame, *, folds: int, fold: int, seed: int, repeat: int = 0) -> pd.Series:
    """Returns the partition of each scan when one fold is the test part.

    The tuning part is cut from the other folds, by patient and stratified, in such a share that the three parts are
    about those of the study (a tenth of all scans). Another `repeat` cuts another tuning part; the folds stay.

    Args:
        df: A manifest or a cohort.
        folds: Number of folds.
        fold: The one to test on, 0 to `folds` - 1.
        seed: Seed of the study.
        repeat: Number of the repetition, from 0.

    Raises:
        ManifestError: Too few patients of a label for so many folds.
        ValueError: There is no such fold.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold is {fold}; expected 0 to {folds - 1}")
    held_out = assign_folds(df, folds=folds, seed=seed) == fold
    rest = df[~held_out]
    parts = max(2, round(FOLDS * (folds - 1) / folds))
    inner = int(np.random.SeedSequence([seed, folds, fold, repeat]).generate_state(1)[0])
    tuning = _folds(rest, inner, most=parts, where=f" outside fold {fold} of {folds}") == 0
    partitions = pd.Series("train", index=df.index, dtype="str").where(~held_out, "test")
    partitions.loc[tuning.index[tuning]] = "tuning"
    return partitions.rename("partition")


def _check_given(df: pd.DataFrame, given: pd.Series) -> None:
    split = given.groupby(df["patient_id"].map(patient_key)).nunique()
    if (split > 1).any():
        found = f"{int((split > 1).sum())} patients in two partitions"
        raise _error(df, "partition", found, "all scans of a patient in one partition")
    labels = set(df.loc[given == "train", "metastasis"])
    if labels != {0, 1}:
        raise _error(df, "metastasis", f"labels {sorted(labels)} in train", "both labels in train")


def _folds(df: pd.DataFrame, seed: int, *, wanted: int = 0, most: int = FOLDS, where: str = "") -> pd.Series:
    """Returns the fold of each row: of `wanted` folds, or of `most`, fewer where a label has fewer patients.

    `where` tells in an error which rows these are, if they are not all.

    It does not depend on the order of the rows.
    """
    index = df.index
    keys = df["patient_id"].map(patient_key)
    order = pd.DataFrame({"key": keys, "scan": df["scan_id"].map(str)}).sort_values(["key", "scan"]).index
    df, keys = df.loc[order], keys.loc[order]
    from sklearn.model_selection import StratifiedGroupKFold

    per_label = keys.groupby(df["metastasis"]).nunique()
    fewest = int(per_label.min()) if len(per_label) == 2 else 0
    if fewest < MIN_PATIENTS:
        found = f"{fewest} patients with the rarer label{where}"
        raise _error(df, "metastasis", found, f"{MIN_PATIENTS} or more patients of each label, to split them")
    if wanted > fewest:
        found = f"{fewest} patients with the rarer label"
        raise _error(df, "metastasis", found, f"{wanted} or more patients of each label, for {wanted} folds")
    n_folds = wanted or min(most, fewest)
    strata = _strata(df, keys, n_folds)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = pd.Series(-1, index=df.index)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(df)), strata, groups=keys)):
        folds.iloc[held_out] = fold
    return folds.reindex(index)


def _strata(df: pd.DataFrame, keys: pd.Series, n_folds: int) -> pd.Series:
    """Returns label x primary cancer; primaries with too few patients are pooled, a small pool is merged."""
    label = df["metastasis"].map(str)
    primary = df["primary_cancer"].map(lambda cell: str(cell).strip().casefold())
    strata = label + "/" + primary
    rare = keys.groupby(strata).transform("nunique") < n_folds
    strata = strata.where(~rare, label + "/other")
    few = keys.groupby(strata).transform("nunique") < n_folds
    largest = {name: part.mode().iloc[0] for name, part in strata.groupby(label)}
    return strata.where(~few, label.map(largest))


def take(df: pd.DataFrame, n: int, *, seed: int = 0) -> pd.DataFrame:
    """Takes a subset of `n` scans in proportion by partition and label: whole patients, rows in their order.

    With scans that share patients it may be a few fewer than `n`, never more.

    Raises:
        ValueError: `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected 1 or more scans")
    if n >= len(df):
        return df.copy()
    keys = df["patient_id"].map(patient_key)
    stratum = df["partition"].map(str) + "/" + df["metastasis"].map(str)
    stratum = stratum.groupby(keys).transform("first")  # a patient counts where the first scan is
    quotas = _quotas(stratum.value_counts().sort_index(), n)
    chosen: set[str] = set()
    for name, quota in quotas.items():
        sizes = keys[stratum == name].value_counts().sort_index()
        for at in np.random.default_rng([seed, *name.encode()]).permutation(len(sizes)):
            if sizes.iloc[at] <= quota:
                chosen.add(str(sizes.index[at]))
                quota -= int(sizes.iloc[at])
    return df[keys.isin(chosen)].copy()


def _quotas(sizes: pd.Series, n: int) -> dict[str, int]:
    """Shares `n` among strata in proportion, by largest remainder, at least 1 each while that is possible."""
    exact = {str(name): n * size / sizes.sum() for name, size in sizes.items()}
    floor = 1 if n >= len(exact) else 0
    quotas = {name: max(floor, math.floor(share)) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_remainder[: max(0, n - sum(quotas.values()))]:
        quotas[name] += 1
    while sum(quotas.values()) > n:  # the floor of 1 gave too many: the largest gives back
        quotas[max(quotas, key=lambda name: quotas[name])] -= 1
    return quotas


def _error(df: pd.DataFrame, column: str, value: str, expected: str) -> ManifestError:
    file = str(df.attrs.get("path", "manifest"))
    return ManifestError([Problem(file, column=column, value=value, expected=expected)])
