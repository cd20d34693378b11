"""The breakdown of localisation, against loops and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bonescan_utils.breakdown import (
    DIFFERENCES,
    MIN_PATIENTS,
    SENSITIVITY,
    TABLE,
    breakdown_differences,
    breakdown_table,
    phantom_findings,
)
from bonescan_utils.groups import TOO_FEW
from bonescan_utils.localisation import froc_table
from bonescan_utils.paired import holm

N = 40
LESIONS = {n: n % 4 for n in range(N)}
"""Visible lesions of each scan: every fourth has none."""
IDS = [f"s{n:02d}" for n in range(N)]
PATIENTS = pd.Series([f"p{n:02d}" for n in range(N)], index=IDS)


def make_tables(*maps: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, marks and findings of forty scans; maps after the first find less."""
    rng = np.random.default_rng(seed)
    scores, marks, findings = [], [], []
    for n, scan in enumerate(IDS):
        regions = ["pelvis and hips", "arms" if n < 8 else "lumbar spine", "head"][: LESIONS[n]]
        findings += [(scan, k + 1, 3.0 - k, region) for k, region in enumerate(regions)]
        for at, name in enumerate(maps):
            marks += [(name, scan, rng.random() + 1 - at, k + 1) for k in range(LESIONS[n]) if rng.random() < 0.8]
            marks += [(name, scan, -math.inf, k + 1) for k in range(LESIONS[n]) if (name, scan, k + 1) not in
                      {(m[0], m[1], m[3]) for m in marks}]  # fmt: skip
            marks += [(name, scan, rng.random(), 0) for _ in range(3)]
            if LESIONS[n]:
                scores.append((scan, name, float(rng.random() < 0.9 - at / 2), rng.random()))
    return (
        pd.DataFrame(scores, columns=["scan_id", "map", "pointing", "energy"]),
        pd.DataFrame(marks, columns=["map", "scan_id", "strength", "lesion"]),
        pd.DataFrame(findings, columns=["scan_id", "lesion", "prominence", "region"]),
    )


def test_every_cell_is_what_counting_gives() -> None:
    scores, marks, findings = make_tables("a", "b")
    table = breakdown_table(scores, marks, findings, PATIENTS, n_boot=100)
    assert list(table.columns) == TABLE
    found = table.set_index(["map", "factor", "group", "measure"])
    froc = froc_table(marks).set_index(["map", "false_foci"])["sensitivity"]
    for name in ("a", "b"):
        mine = scores[scores["map"] == name].set_index("scan_id")
        false = sorted((s for m, _, s, k in marks.itertuples(index=False) if m == name and k == 0), reverse=True)
        strong = {(i, k) for m, i, s, k in marks.itertuples(index=False) if m == name and k and s > false[N]}
        assert found.loc[(name, "all", "all scans", SENSITIVITY), "estimate"] == pytest.approx(froc[name, 1.0])
        assert found.loc[(name, "all", "all scans", "pointing"), "estimate"] == pytest.approx(mine["pointing"].mean())
        for band, number in (("1-2", (1, 2)), ("3-6", (3,))):
            scans = [IDS[n] for n in range(N) if LESIONS[n] in number]
            row = found.loc[(name, "visible_lesions", band, "energy")]
            assert row["estimate"] == pytest.approx(mine.loc[scans, "energy"].mean()) and row["n"] == len(scans)
            of_band = {(s, k) for s, k, *_ in findings.itertuples(index=False) if s in scans}
            row = found.loc[(name, "visible_lesions", band, SENSITIVITY)]
            assert row["estimate"] == pytest.approx(len(of_band & strong) / len(of_band)) and row["n"] == len(of_band)
            assert row["patients"] == len(scans) and row["ci_low"] <= row["estimate"] <= row["ci_high"]
        lumbar = {(s, k) for s, k, _, r in findings.itertuples(index=False) if r == "lumbar spine"}
        row = found.loc[(name, "region", "lumbar spine", SENSITIVITY)]
        assert row["estimate"] == pytest.approx(len(lumbar & strong) / len(lumbar))


def test_a_scan_belongs_to_the_group_of_its_most_prominent_lesion() -> None:
    table = breakdown_table(*make_tables("a"), PATIENTS, n_boot=100)
    pointing = table[(table["factor"] == "region") & (table["measure"] == "pointing")].set_index("group")["n"]
    assert pointing["pelvis and hips"] == 30 and pointing["lumbar spine"] == pointing["head"] == 0


def test_a_group_of_few_patients_says_so() -> None:
    table = breakdown_table(*make_tables("a"), PATIENTS, n_boot=100)
    few = table[table["patients"] < MIN_PATIENTS]
    assert set(few["note"]) == {TOO_FEW} and few[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    arms = table[(table["group"] == "arms") & (table["measure"] == SENSITIVITY)].iloc[0]
    assert (arms["n"], arms["patients"]) == (4, 4), "what was counted is told all the same"
    assert set(table.loc[table["patients"] >= MIN_PATIENTS, "note"]) == {""}


def test_differences_are_of_the_same_resamples_and_adjusted_together() -> None:
    scores, marks, findings = make_tables("a", "b")
    apart = breakdown_differences(scores, marks, findings, PATIENTS, reference="a", n_boot=200)
    each = breakdown_table(scores, marks, findings, PATIENTS, n_boot=200)
    keys = ["factor", "group", "measure"]
    a, b = (each[each["map"] == name].set_index(keys)["estimate"] for name in "ab")
    np.testing.assert_allclose(apart.set_index(keys)["difference"], a - b)
    whole = apart[apart["factor"] == "all"].set_index("measure")
    assert whole.loc["pointing", "ci_low"] > 0 and whole.loc["pointing", "p"] < 0.01
    for _, rows in apart.groupby("measure"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p"].to_numpy()))
    marks_of_a = marks[marks["map"] == "a"]
    twice = [pd.concat([t[t["map"] == "a"], t[t["map"] == "a"].assign(map="same")]) for t in (scores, marks_of_a)]
    same = breakdown_differences(*twice, findings, PATIENTS, reference="a", n_boot=100)
    assert (same["difference"].dropna() == 0).all() and same["p"].isna().all(), "no spread, no test"


def test_resampling_draws_patients_and_finds_the_cut_anew() -> None:
    """Against a plain loop over resamples of whole patients."""
    scores, marks, findings = make_tables("a")
    pairs = pd.Series([f"p{n // 2}" for n in range(N)], index=IDS)
    table = breakdown_table(scores, marks, findings, pairs, n_boot=2000)
    row = table[(table["factor"] == "all") & (table["measure"] == SENSITIVITY)].iloc[0]
    of_scan = dict(list(marks.groupby("scan_id")))
    members = [list(part.index) for _, part in pairs.groupby(pairs)]
    rng, values = np.random.default_rng(5), []
    for _ in range(400):
        drawn = [scan for at in rng.integers(0, len(members), len(members)) for scan in members[at]]
        parts = pd.concat([of_scan[scan] for scan in drawn])
        false = np.sort(parts.loc[parts["lesion"] == 0, "strength"])[::-1]
        values.append((parts.loc[parts["lesion"] > 0, "strength"] > false[len(drawn)]).mean())
    low, high = np.quantile(values, [0.025, 0.975])
    assert row["patients"] == 20 and row["ci_low"] == pytest.approx(low, abs=0.03)
    assert row["ci_high"] == pytest.approx(high, abs=0.03)


def test_without_truth_there_is_nothing_to_break_down() -> None:
    scores, marks, findings = (table.iloc[:0] for table in make_tables("a"))
    assert breakdown_table(scores, marks, findings, PATIENTS).empty
    assert list(breakdown_differences(scores, marks, findings, PATIENTS, reference="a").columns) == DIFFERENCES


def test_findings_of_phantoms_are_their_visible_metastases() -> None:
    lesions = pd.DataFrame({
        "scan_id": ["a", "a", "a", "b"], "lesion": [0, 1, 2, 0], "kind": ["metastasis"] * 2 + ["facet", "metastasis"],
        "region": ["rib07_l", "L3", "C5", "femur_shaft_r"], "vis_anterior": [0.5, 0.1, 4, 2.6],
        "vis_posterior": [1.4, 0.7, 4, 0],
    })  # fmt: skip
    found = phantom_findings(lesions)
    assert found.to_dict("list") == {
        "scan_id": ["a", "b"], "lesion": [1, 1], "prominence": [1.4, 2.6], "visibility": ["0.8 to <1.5", "2.5 or more"],
        "region": ["ribs and shoulder girdle", "legs"],
    }  # fmt: skip
