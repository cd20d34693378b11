"""Subgroups: factors of a cohort, and metrics within every group."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from test_evaluation import make_predictions, row_of

from bonescan_utils.intervals import wilson
from bonescan_utils.subgroups import COLUMNS, scan_groups, subgroup_table


def make_cohort(n=80):
    """A cohort that fits `make_predictions`, with one unknown age and one unknown cancer."""
    label = np.arange(n) % 2
    age = np.tile([45.0, 50.0, 59.9, 60.0, 75.0, 80.0, 92.0, np.nan], n)[:n]
    columns = {"scan_id": [f"s{i:04d}" for i in range(n)], "metastasis": label, "age": age}
    columns["primary_cancer"] = np.tile(["breast", "prostate", "prostate", "", "lung"], n)[:n]
    columns |= {"sex": np.tile(["F", "F", "M", "M"], n)[:n], "site": "A"}
    return pd.DataFrame(columns | {"counts_anterior": np.arange(n) * 10_000 + 1_000_000, "counts_posterior": 1_000_000})


def make_lesions(n=80):
    """Of every positive scan 1 or 7 metastases in turn, the first two of them faint, and a bright mimic for all."""
    rows = [(f"s{i:04d}", "mimic", 0.9, 0.1) for i in range(n)]
    for i in range(1, n, 2):
        rows += [(f"s{i:04d}", "metastasis", 0.4, 0.9 if i % 4 == 1 else 3.0)] * (1 if i % 4 == 1 else 7)
    return pd.DataFrame(rows, columns=["scan_id", "kind", "vis_anterior", "vis_posterior"])


def test_factors_are_ordered_bands():
    groups = scan_groups(make_cohort(), lesions=make_lesions())
    expected = ["sex", "age", "primary_cancer", "count_level", "visible_metastases", "visibility"]
    assert list(groups.columns) == expected  # one site tells nothing apart
    by_age = groups["age"].head(8).tolist()
    assert by_age == ["below 50", *["50 to <60"] * 2, "60 to <70", "70 to <80", *["80 or more"] * 2, "unknown"]
    assert groups["primary_cancer"].cat.categories.tolist() == ["breast", "lung", "prostate", "unknown"]
    assert groups["count_level"].value_counts(sort=False).tolist() == [27, 26, 27]
    assert groups["count_level"].cat.categories[0].startswith("low, to 2.26 M")
    positive = groups.iloc[1::2]
    assert positive["visible_metastases"].tolist()[:2] == ["1-2", "7 or more"]
    assert positive["visibility"].tolist()[:2] == ["0.8 to <1.5", "2.5 or more"]
    assert groups.iloc[::2][["visible_metastases", "visibility"]].isna().all(axis=None)


def test_rows_are_the_metrics_of_the_groups_scans():
    predictions, cohort = make_predictions(80), make_cohort()
    table = subgroup_table(predictions, {"proposed": 0.5, "vgg16": 0.4}, scan_groups(cohort), min_scans=5)
    assert list(table.columns) == COLUMNS
    assert table.iloc[0][["factor", "group", "arm", "metric"]].tolist() == ["all", "all scans", "proposed", "AUROC"]
    part = predictions[
        (predictions["arm"] == "vgg16") & predictions["scan_id"].isin(cohort[cohort["sex"] == "F"]["scan_id"])
    ]
    found = {row["metric"]: row for _, row in table[(table["group"] == "F") & (table["arm"] == "vgg16")].iterrows()}
    called = part["y_score"] >= 0.4
    assert found["AUROC"]["estimate"] == pytest.approx(sk.roc_auc_score(part["y_true"], part["y_score"]))
    assert found["sensitivity"]["estimate"] == pytest.approx(sk.recall_score(part["y_true"], called))
    assert found["specificity"]["estimate"] == pytest.approx(sk.recall_score(part["y_true"], called, pos_label=0))
    right = int((called & (part["y_true"] == 1)).sum())
    assert found["sensitivity"][["ci_low", "ci_high"]].tolist() == pytest.approx(list(wilson(right, 20)))
    assert (found["AUROC"]["n"], found["sensitivity"]["n"], found["specificity"]["n_positive"]) == (40, 20, 0)


def test_groups_of_a_factor_add_up_to_all_scans():
    table = subgroup_table(make_predictions(80), dict.fromkeys(["proposed", "vgg16"], 0.5), scan_groups(make_cohort()))
    counts = table.groupby(["arm", "metric", "factor"])["n"].sum().unstack()
    assert counts.eq(counts["all"], axis=0).all(axis=None)


def test_too_few_to_say_and_why():
    table = subgroup_table(make_predictions(80, arms=["a"]), {"a": 0.5}, scan_groups(make_cohort()), min_scans=12)
    silent = table["estimate"].isna()
    assert table[silent]["note"].eq("too few to say").all() and table[~silent]["note"].eq("").all()
    assert 0 < silent.sum() < len(table)
    rates = table["metric"] != "AUROC"
    assert (table[silent & rates]["n"] < 12).all() and (table[~silent & rates]["n"] >= 12).all()


def test_lesion_groups_are_set_against_all_scans_without_metastasis():
    groups = scan_groups(make_cohort(), lesions=make_lesions())
    table = subgroup_table(make_predictions(80, arms=["a"]), {"a": 0.5}, groups[["visible_metastases"]])
    rows = table[table["factor"] == "visible_metastases"]
    assert rows["group"].tolist() == ["1-2", "1-2", "7 or more", "7 or more"]
    assert rows["metric"].tolist() == ["AUROC", "sensitivity"] * 2
    assert rows["n"].tolist() == [60, 20] * 2 and rows["n_positive"].eq(20).all()


def test_patients_with_several_scans_and_constant_scores():
    predictions = make_predictions(80, arms=["a"], scans_per_patient=2)
    groups = scan_groups(make_cohort())[["sex"]]
    table = subgroup_table(predictions, {"a": 0.5}, groups, n_boot=200)
    areas = table["metric"] == "AUROC"
    assert table[areas]["method"].eq("patient bootstrap").all()
    assert table[~areas]["method"].eq("Wilson").all()  # one scan of a label a patient
    twice = pd.concat([predictions, predictions.assign(scan_id=predictions["scan_id"] + "b")])
    both = pd.concat([groups, groups.rename(index=lambda scan: scan + "b")])
    rows = subgroup_table(twice, {"a": 0.5}, both, n_boot=200)
    assert rows["method"].str.startswith("patient bootstrap").all()
    assert (table["ci_low"] < table["ci_high"]).all()
    blind = subgroup_table(predictions.assign(y_score=0.5), {"a": 0.4}, groups, n_boot=200)
    row = row_of(blind, factor="all", metric="AUROC")
    assert np.isnan(row["estimate"]) and row["note"] == "every scan has the same score"
    assert row_of(blind, factor="all", metric="sensitivity")["ci_low"] < 1


def test_two_groups_for_a_scan_are_refused():
    groups = scan_groups(make_cohort())[["sex"]]
    with pytest.raises(ValueError, match="'s0000' has more than one group"):
        subgroup_table(make_predictions(20), {"proposed": 0.5, "vgg16": 0.5}, pd.concat([groups, groups]))
