"""Failures: which scans are listed, and the reason each one has."""

import numpy as np
import pandas as pd
import pytest

from bonescan_utils.failures import COLUMNS, REASONS, failure_table, reason_table

THRESHOLDS = {"a": 0.5}


def make_predictions(scores):
    """Predictions from scan -> (label, score)."""
    rows = [(name, name, "a", "test", label, score) for name, (label, score) in scores.items()]
    return pd.DataFrame(rows, columns=["scan_id", "patient_id", "arm", "partition", "y_true", "y_score"])


SCANS = {
    "unseen": (1, 0.4), "pelvic": (1, 0.3), "solitary_faint": (1, 0.2), "faint": (1, 0.1), "solitary": (1, 0.45),
    "many": (1, 0.35), "found": (1, 0.9), "mimicked": (0, 0.8), "puzzling": (0, 0.6), "clean": (0, 0.1),
}  # fmt: skip
LESIONS = pd.DataFrame(
    [
        ("unseen", "metastasis", "L3", 0.0, 0.7, 0.2),
        ("pelvic", "metastasis", "sacrum", -10.0, 2.0, 0.2),
        ("pelvic", "metastasis", "L1", 0.0, 0.5, 0.5),  # not visible, so it does not count
        ("solitary_faint", "metastasis", "rib07_l", 90.0, 0.2, 1.2),
        ("solitary_faint", "rib_fracture", "rib03_r", -90.0, 0.6, 0.2),
        ("faint", "metastasis", "T8", 0.0, 0.9, 0.2),
        ("faint", "metastasis", "sacrum", 0.0, 1.4, 0.2),
        ("solitary", "metastasis", "ischiopubis_l", 60.0, 1.5, 0.2),  # beside the bladder, not behind it
        ("many", "metastasis", "T8", 0.0, 0.9, 0.2),
        ("many", "metastasis", "L2", 0.0, 1.6, 0.2),
        ("found", "metastasis", "L2", 0.0, 0.9, 0.2),
        ("mimicked", "rib_fracture", "rib05_l", 90.0, 0.45, 0.2),  # 0.45 / 0.55 over a background without it
        ("mimicked", "knee_oa", "tibia_prox_l", 90.0, 0.3, 0.2),
        ("puzzling", "knee_oa", "tibia_prox_l", 90.0, 0.44, 0.2),
    ],
    columns=["scan_id", "kind", "region", "x_mm", "vis_anterior", "vis_posterior"],
)


def test_every_failure_has_the_first_reason_that_holds():
    table = failure_table(make_predictions(SCANS), THRESHOLDS, "a", lesions=LESIONS)
    assert list(table.columns) == COLUMNS
    assert dict(zip(table["scan_id"], table["reason"], strict=True)) == {
        "unseen": "no visible metastasis",
        "pelvic": "urine overlap",
        "solitary_faint": "solitary faint lesion",
        "faint": "faint lesions only",
        "solitary": "solitary lesion",
        "many": "no reason in the truth",
        "mimicked": "mimic",
        "puzzling": "no reason in the truth",
    }
    assert set(table["reason"]) <= set(REASONS)


def test_misses_come_first_and_the_worst_of_them_on_top():
    table = failure_table(make_predictions(SCANS), THRESHOLDS, "a", lesions=LESIONS)
    assert table["outcome"].tolist() == ["Miss"] * 6 + ["False alarm"] * 2
    for _, rows in table.groupby("outcome"):
        assert rows["margin"].is_monotonic_decreasing
    assert table["scan_id"].iloc[0] == "faint" and table["margin"].iloc[0] == pytest.approx(0.4)


def test_the_finding_that_stands_out_is_named():
    table = failure_table(make_predictions(SCANS), THRESHOLDS, "a", lesions=LESIONS).set_index("scan_id")
    named = ["finding", "region", "visibility"]
    assert table.loc["faint", named].tolist() == ["metastasis", "sacrum", 1.4]
    assert table.loc["solitary_faint", named].tolist() == ["metastasis", "rib07_l", 1.2]
    assert table.loc["mimicked", named].tolist() == ["rib_fracture", "rib05_l", pytest.approx(0.818)]
    assert table.loc["pelvic", "visible_metastases"] == 1 and table.loc["faint", "visible_metastases"] == 2


def test_reasons_count_every_scan_once():
    table = reason_table(make_predictions(SCANS), THRESHOLDS, "a", lesions=LESIONS)
    assert table["n"].sum() == len(SCANS) and table["n_positive"].sum() == 7 and table["n_failed"].sum() == 8
    faint = table[table["reason"] == "solitary faint lesion"].iloc[0]
    assert (faint["n"], faint["n_failed"], faint["estimate"]) == (2, 1, 0.5)  # one was found all the same
    clean = table[(table["outcome"] == "False alarm") & (table["reason"] == "no reason in the truth")].iloc[0]
    assert (clean["n"], clean["n_failed"]) == (2, 1)
    assert ((table["ci_low"] <= table["estimate"]) & (table["estimate"] <= table["ci_high"])).all()


def test_scans_without_truth_are_listed_without_a_reason():
    predictions = make_predictions(SCANS)
    table = failure_table(predictions, THRESHOLDS, "a")
    assert len(table) == 8 and table["reason"].eq("no truth").all() and table["visibility"].isna().all()
    assert reason_table(predictions, THRESHOLDS, "a")["n"].tolist() == [7, 3]
    nothing = failure_table(predictions, THRESHOLDS, "a", lesions=LESIONS.head(0)).set_index("scan_id")
    assert nothing.loc["puzzling", "finding"] == "" and np.isnan(nothing.loc["puzzling", "visibility"])


def test_an_arm_without_failures_has_an_empty_table():
    right = {name: (label, 0.9 * label) for name, (label, _) in SCANS.items()}
    table = failure_table(make_predictions(right), THRESHOLDS, "a", lesions=LESIONS)
    assert table.empty and list(table.columns) == COLUMNS


def test_bad_input_is_told():
    with pytest.raises(ValueError, match=r"arm must be one of \['a'\], got 'b'"):
        failure_table(make_predictions(SCANS), THRESHOLDS, "b")
    with pytest.raises(ValueError, match="no usable threshold for arm 'a'"):
        reason_table(make_predictions(SCANS), {}, "a")


def test_failures_of_a_patient_with_several_scans_are_no_independent_ones():
    once = pd.DataFrame([(f"s{i}", f"p{i}", "a", "test", 1, 0.2 + 0.6 * (i % 3 > 0)) for i in range(30)])
    once.columns = ["scan_id", "patient_id", "arm", "partition", "y_true", "y_score"]
    fourfold = pd.concat([once.assign(scan_id=once["scan_id"] + copy) for copy in "abcd"])
    (single,), (copied,) = (reason_table(p, THRESHOLDS, "a").to_dict("records") for p in (once, fourfold))
    assert single["method"] == "Wilson" and copied["method"].startswith("patient bootstrap")
    assert copied["estimate"] == single["estimate"] and copied["n"] == 4 * single["n"]
    assert copied["ci_high"] - copied["ci_low"] == pytest.approx(single["ci_high"] - single["ci_low"], rel=0.15)
