"""Cohort building: every rule takes out what it must, the boxes add up, and a sample is what its seed says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.cohort_build import CohortError, balance, build_cohort, join_flows, select_scans
from bonescan_utils.cohort_rules import DEFAULT_RULES, RULES, parse_rules
from bonescan_utils.flow import check_flow, plot_flow
from bonescan_utils.sampling import CALIPER, SampleError


def scans(n: int = 12, *, seed: int = 0, **columns: object) -> pd.DataFrame:
    """Returns n scans of n patients that meet every rule, with labels 0 and 1 in turn."""
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"scan_id": [f"s{at:03d}" for at in range(n)]})
    df["patient_id"] = [f"P{at:03d}" for at in range(n)]
    df["metastasis"] = pd.array([at % 2 for at in range(n)], dtype="Int64")
    df["age"] = rng.integers(40, 80, n).astype(float)
    df["sex"], df["primary_cancer"] = rng.choice(["F", "M"], n), rng.choice(["breast", "lung"], n)
    df["anterior"], df["posterior"] = [f"{at}a.png" for at in range(n)], [f"{at}p.png" for at in range(n)]
    for name in ("label_source", "site", "scanner", "partition", "sha256_anterior", "sha256_posterior"):
        df[name] = ""
    df["tracer"], df["report_days"], df["study_day"] = "MDP", "3", "0"
    df["counts_anterior"] = df["counts_posterior"] = "1700000"
    return df.assign(posterior_mirrored="no", **columns)


def test_a_sound_cohort_stays_whole() -> None:
    built = build_cohort(scans(), DEFAULT_RULES)
    assert len(built.table) == 12 and built.excluded.empty and list(built.flow["n"]) == [12] * 9
    assert built.prevalence.to_dict("records")[0]["prevalence"] == 0.5 and len(built.prevalence) == 1


@pytest.mark.parametrize(
    ("rule", "column", "value", "reason"),
    [
        ("labelled", "metastasis", pd.NA, "no label"),
        ("cancer_patient", "primary_cancer", "", "primary cancer unknown"),
        ("cancer_patient", "primary_cancer", "none", "no cancer"),
        ("adult:18", "age", 17.0, "below 18 years"),
        ("adult:18", "age", np.nan, "age unknown"),
        ("bone_tracer", "tracer", "PYP", "another tracer"),
        ("bone_tracer", "tracer", "", "tracer unknown"),
        ("both_views", "posterior", "", "no posterior view"),
        ("both_views", "anterior", "", "no anterior view"),
        ("reference_window:30", "report_days", "-31", "reference standard more than 30 days away"),
        ("reference_window:30", "report_days", "", "date of reference standard unknown"),
        ("quality:500000", "counts_posterior", "499999", "fewer than 500,000 counts in a view"),
        ("quality:500000", "posterior_mirrored", "yes", "posterior view mirrored"),
    ],
)
def test_each_rule_takes_out_what_does_not_meet_it(rule: str, column: str, value: object, reason: str) -> None:
    df = scans()
    df.loc[3, column] = value
    built = build_cohort(df, [rule])
    assert built.excluded.to_dict("records") == [
        {"scan_id": "s003", "rule": rule.partition(":")[0], "reason": reason},
    ]
    assert built.flow.iloc[-1].to_dict() | {"step": ""} == {"step": "", "n": 11, "excluded": 1, "reason": f"1 {reason}"}


def test_limits_are_inclusive_and_one_view_is_judged_by_itself() -> None:
    df = scans(age=18.0, report_days="30")
    df["counts_anterior"] = "500000"
    df.loc[2, ["posterior", "counts_posterior"]] = ""
    built = build_cohort(df, ["adult:18", "reference_window:30", "quality:500000"])
    assert len(built.table) == 12


@pytest.mark.parametrize(("which", "kept"), [("first", {"s001", "s004"}), ("last", {"s003", "s004"})])
def test_one_scan_per_patient(which: str, kept: set[str]) -> None:
    df = scans(5, study_day=["", "0", "31", "100", "0"]).assign(patient_id=["A", "a ", "A", "A", "B"])
    built = build_cohort(df, [f"one_scan_per_patient:{which}"])
    assert set(built.table["scan_id"]) == kept
    shuffled = build_cohort(df.sample(frac=1, random_state=1), [f"one_scan_per_patient:{which}"])
    assert set(shuffled.table["scan_id"]) == kept


def test_the_order_of_rules_says_which_reason_counts() -> None:
    df = scans()
    df.loc[0, ["age", "tracer"]] = [10.0, "other"]
    by_order = [
        build_cohort(df, order).excluded["rule"].tolist()
        for order in (["adult", "bone_tracer"], ["bone_tracer", "adult"])
    ]
    assert by_order == [["adult"], ["bone_tracer"]]


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (["child"], "known are labelled"),
        (["adult:old"], "whole number"),
        (["one_scan_per_patient:best"], "first or last"),
        (["both_views:2"], "no argument"),
        (["adult:18", "adult:20"], "stands twice"),
    ],
)
def test_rules_that_cannot_be_read(rules: list[str], says: str) -> None:
    with pytest.raises(CohortError, match=says):
        parse_rules(rules)


def test_a_missing_column_and_an_empty_cohort() -> None:
    with pytest.raises(CohortError, match="needs the column reference_days or report_days"):
        build_cohort(scans().drop(columns="report_days"), ["reference_window"])
    with pytest.raises(CohortError, match="no scan is left"):
        build_cohort(scans(age=5.0), ["adult"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.permutations(sorted(RULES)), st.integers(0, len(RULES)))
def test_boxes_add_up_and_nobody_is_lost(seed: int, names: list[str], n_rules: int) -> None:
    rng = np.random.default_rng(seed)
    df = scans(30, seed=seed)
    df["patient_id"] = rng.choice([f"P{at}" for at in range(20)], 30)
    for column, bad in (("age", 9.0), ("tracer", ""), ("posterior", ""), ("report_days", "999"), ("metastasis", pd.NA)):
        df.loc[rng.random(30) < 0.1, column] = bad
    rules = names[:n_rules]
    try:
        built = build_cohort(df, rules)
    except CohortError:
        return
    check_flow(built.flow)
    assert sorted([*built.table["scan_id"], *built.excluded["scan_id"]]) == sorted(df["scan_id"])
    assert built.flow["n"].iloc[-1] == len(built.table) and built.flow["n"].iloc[0] == 30


# ------------------------------------------------------------------------------------------- sampling
def enriched(n: int = 400, seed: int = 1) -> pd.DataFrame:
    """Returns scans of which a fifth has metastasis, older and more often of men with lung cancer."""
    rng = np.random.default_rng(seed)
    df = scans(n, seed=seed)
    sick = rng.random(n) < 0.2
    df["metastasis"] = pd.array(sick.astype(int), dtype="Int64")
    df["age"] = np.where(sick, rng.integers(60, 85, n), rng.integers(40, 75, n)).astype(float)
    df["sex"] = np.where(rng.random(n) < np.where(sick, 0.8, 0.4), "M", "F")
    df["primary_cancer"] = np.where(rng.random(n) < np.where(sick, 0.7, 0.3), "lung", "breast")
    return df


@pytest.mark.parametrize("kind", ["random", "matched"])
def test_a_sample_has_so_many_of_each_label_whatever_the_order(kind: str) -> None:
    df = enriched()
    built = build_cohort(df, ["both_views"], sampling=f"{kind}:30", seed=7)
    assert built.table["metastasis"].value_counts().to_dict() == {0: 30, 1: 30}
    assert build_cohort(df.sample(frac=1, random_state=3), ["both_views"], sampling=f"{kind}:30", seed=7).table[
        "scan_id"
    ].sort_values().tolist() == sorted(built.table["scan_id"])
    other = build_cohort(df, ["both_views"], sampling=f"{kind}:30", seed=8)
    assert set(other.table["scan_id"]) != set(built.table["scan_id"])
    check_flow(built.flow)
    assert built.record == {"rules": ["both_views"], "sampling": f"{kind}:30", "seed": 7}
    stages = built.prevalence.set_index("stage")
    assert stages.loc["sampled", "prevalence"] == 0.5
    assert stages.loc["eligible", "n_positive"] == int(df["metastasis"].sum()) and stages.loc["eligible", "n"] == 400
    assert stages.loc["eligible", "ci_low"] < stages.loc["eligible", "prevalence"] < stages.loc["eligible", "ci_high"]


def test_a_matched_sample_is_of_the_same_sex_cancer_and_about_the_same_age() -> None:
    df = enriched()
    built = build_cohort(df, [], sampling="matched:500", seed=2)
    strata = built.table.groupby(["sex", "primary_cancer"])["metastasis"]
    assert (strata.sum() * 2 == strata.size()).all()  # pairs within a stratum
    for _, rows in built.table.groupby(["sex", "primary_cancer"]):
        ages = [np.sort(rows.loc[rows["metastasis"] == label, "age"]) for label in (0, 1)]
        assert np.abs(ages[0] - ages[1]).max() <= CALIPER  # of sorted pairs it is never more than of any pairing
    smd = balance(built).set_index("Characteristic")
    for name in smd.index[smd.index.str.startswith(("Age", "Sex", "Primary"))]:
        before, after = (
            float(smd.loc[name, stage].replace("\N{MINUS SIGN}", "-").lstrip("<")) for stage in ("eligible", "sampled")
        )
        assert abs(after) < 0.2 and abs(after) < abs(before) / 2


def test_fewer_than_wanted_gives_as_many_of_each_label() -> None:
    df = enriched(60)
    built = build_cohort(df, [], sampling="random:500", seed=0)
    assert built.table["metastasis"].value_counts().to_dict() == dict.fromkeys((0, 1), int(df["metastasis"].sum()))
    assert "without metastasis, not drawn" in built.flow["reason"].iloc[-1]


@pytest.mark.parametrize("text", ["random", "random:0", "random:-1", "none:5", "best:5", ""])
def test_samplings_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SampleError, match="sampling"):
        build_cohort(scans(), [], sampling=text)


def test_what_a_sample_needs() -> None:
    twice = scans().assign(patient_id="A")
    unlabelled = scans()
    unlabelled.loc[0, "metastasis"] = pd.NA
    for df, says in ((twice, "one_scan_per_patient"), (unlabelled, "labelled"), (scans(metastasis=1), "both labels")):
        with pytest.raises(SampleError, match=says):
            build_cohort(df, [], sampling="random:2")
    with pytest.raises(SampleError, match="no scan with metastasis has a match"):
        build_cohort(scans(2, sex=["F", "M"]), [], sampling="matched:1")


# ------------------------------------------------------------------------------------------- drawing, joining
def test_what_was_built_can_be_drawn(tmp_path: Path) -> None:
    df = enriched(80)
    df.loc[:4, "age"] = 12.0
    built = build_cohort(df, ["adult:18"], sampling="random:10", seed=5)
    assert len(built.table) == 20 and len(built.excluded) == 60 and built.record["seed"] == 5
    plot_flow(built.flow).savefig(tmp_path / "flow.png")
    assert built.prevalence["stage"].tolist() == ["eligible", "sampled"]


def test_flows_join_where_their_numbers_meet() -> None:
    first = build_cohort(scans(), ["adult"]).flow
    second = pd.DataFrame([("Read", 12, 0, ""), ("Usable", 10, 2, "2 damaged")], columns=first.columns)
    joined = join_flows(first, second)
    check_flow(joined)
    assert list(joined["n"]) == [12, 12, 10]
    with pytest.raises(ValueError, match="do not join"):
        join_flows(first, second.iloc[1:])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 99), st.sampled_from(["none", "random:8", "matched:8"]), st.integers(0, 60))
def test_the_scans_of_a_run_add_up_and_each_patient_has_one_partition(seed: int, sampling: str, n_scans: int) -> None:
    each = 2 if sampling == "none" else 1  # scans of a patient
    df = scans(60, seed=seed).assign(patient_id=[f"P{at // each:03d}" for at in range(60)])
    df.loc[:5, "age"] = 12.0
    found = select_scans(df, ["adult:18"], sampling=sampling, n_scans=n_scans, seed=seed)
    check_flow(found.flow)
    assert sorted([*found.table["scan_id"], *found.excluded["scan_id"]]) == list(df["scan_id"])
    assert len(found.table) == found.flow["n"].iloc[-1] and (not n_scans or len(found.table) <= n_scans)
    assert set(found.table["partition"]) <= {"train", "tuning", "test"} and found.prevalence["n"].iloc[0] == 54
    assert (found.table.groupby("patient_id")["partition"].nunique() == 1).all()


def test_without_rules_all_scans_are_used_and_given_partitions_kept() -> None:
    df = scans(12).assign(partition=["train", "test", "tuning"] * 4)
    found = select_scans(df, seed=3)
    pd.testing.assert_series_equal(found.table["partition"], df["partition"])
    assert (
        found.excluded.empty and list(found.flow["n"]) == [12] and list(found.table["scan_id"]) == list(df["scan_id"])
    )


def test_prevalence_among_patients_with_several_scans_has_no_interval_of_independent_scans() -> None:
    once = scans(20)
    fourfold = pd.concat([once.assign(scan_id=once["scan_id"] + copy) for copy in "abcd"], ignore_index=True)
    single, copied = (build_cohort(df, []).prevalence.iloc[0] for df in (once, fourfold))
    assert single["method"] == "Wilson" and copied["method"].startswith("patient bootstrap")
    assert copied["prevalence"] == single["prevalence"] == 0.5 and copied["n"] == 80
    assert copied["ci_high"] - copied["ci_low"] == pytest.approx(single["ci_high"] - single["ci_low"], rel=0.2)
    none = build_cohort(once.assign(metastasis=pd.array([pd.NA] * 20, dtype="Int64")), []).prevalence.iloc[0]
    assert np.isnan(none["prevalence"]) and none["method"] == "undefined: no scan has a label"
