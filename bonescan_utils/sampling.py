"""Sampling: as many scans with the label as without, at random or matched; what is left out is told.

Matched: without replacement, nearest age within `CALIPER` years among those of the same sex and primary cancer,
scans with metastasis taken in random order (greedy nearest-neighbour matching; Austin 2014, Stat Med 33:1057).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bonescan_utils.partitions import patient_key

KINDS = ("none", "random", "matched")
CALIPER = 5.0
MATCHED_ON = ("sex", "primary_cancer")


class SampleError(ValueError):
    """A sample that cannot be drawn; the text says what was expected."""


@dataclass(frozen=True)
class Sample:
    """How a sample is drawn: its kind, so many scans of each label, and the seed."""

    kind: str = "none"
    per_label: int = 0
    seed: int = 0

    @classmethod
    def parse(cls, text: str, *, seed: int) -> Sample:
        """Reads `none`, `random:500` or `matched:500`.

        Raises:
            SampleError: It is none of these.
        """
        kind, _, number = text.strip().partition(":")
        if kind not in KINDS or (kind == "none") == bool(number) or (number and not number.isdecimal()):
            raise SampleError(f"sampling {text!r}; expected none, random:500 or matched:500")
        if number and int(number) < 1:
            raise SampleError(f"sampling {text!r}; expected 1 or more scans of each label")
        return cls(kind, int(number or 0), seed)

    @property
    def step(self) -> str:
        """Text of its box in the flow."""
        return f"Sampled 1:1, {self.kind}, seed {self.seed}"


def draw_sample(df: pd.DataFrame, sample: Sample) -> pd.Series:
    """Returns for each row why it is not in the sample, '' for those that are. The order of rows plays no part.

    Where a label has fewer scans (or fewer find a match) than are wanted, both labels get as many as there are.

    Args:
        df: metastasis (0/1, none missing), scan_id, patient_id; for `matched` also age, sex, primary_cancer.
        sample: How.

    Raises:
        SampleError: A label is missing, a patient has several scans, or there are no two labels.
    """
    if df["metastasis"].isna().any():
        raise SampleError("sampling needs a label for every scan: put the rule 'labelled' into the list")
    if df["patient_id"].map(patient_key).duplicated().any():
        raise SampleError("sampling needs one scan per patient: put the rule 'one_scan_per_patient' into the list")
    if df["metastasis"].nunique() < 2:
        raise SampleError("sampling needs scans of both labels")
    rng = np.random.default_rng(sample.seed)
    rows = df.assign(_id=df["scan_id"].map(str)).sort_values("_id")
    positive, negative = (rows[rows["metastasis"] == label] for label in (1, 0))
    if sample.kind == "matched":
        pairs = _matched(positive, negative, rng)
        if not pairs:
            raise SampleError("no scan with metastasis has a match of its sex, primary cancer and age")
        chosen = [pairs[at] for at in rng.permutation(len(pairs))[: sample.per_label]]
        kept = {index for pair in chosen for index in pair}
        unmatched = "without a match, or not drawn"
    else:
        n = min(sample.per_label, len(positive), len(negative))
        kept = {index for part in (positive, negative) for index in rng.permutation(part.index.to_numpy())[:n]}
        unmatched = "not drawn"
    names = df["metastasis"].map({1: f"with metastasis, {unmatched}", 0: f"without metastasis, {unmatched}"})
    return names.where(~df.index.isin(kept), "")


def _matched(positive: pd.DataFrame, negative: pd.DataFrame, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Returns pairs of row labels: each scan with metastasis with the nearest free one without."""
    free: dict[tuple[str, ...], list[tuple[float, int]]] = {}
    for index, age, *group in zip(negative.index, negative["age"], *(negative[n] for n in MATCHED_ON), strict=True):
        if not pd.isna(age):
            free.setdefault(tuple(map(str, group)), []).append((float(age), int(index)))
    for pool in free.values():
        pool.sort(key=lambda item: item[0])  # stable: by age, then by scan id
    pairs = []
    for at in rng.permutation(len(positive)):
        row = positive.iloc[at]
        pool = free.get(tuple(str(row[name]) for name in MATCHED_ON), [])
        place = None if pd.isna(row["age"]) else _nearest(pool, float(row["age"]))
        if place is not None:
            pairs.append((int(positive.index[at]), pool.pop(place)[1]))
    return pairs


def _nearest(pool: list[tuple[float, int]], age: float) -> int | None:
    """Returns the place of the nearest age within the caliper, the younger of two; None without one."""
    at = bisect_left(pool, age, key=lambda item: item[0])
    near = [place for place in (at - 1, at) if 0 <= place < len(pool) and abs(pool[place][0] - age) <= CALIPER]
    return min(near, key=lambda place: abs(pool[place][0] - age), default=None)
