"""Tables to be read: what a reader sees of an estimate, a P value, a gap, and a table too wide for a page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bonescan_utils.reporting.readable import methods_sentence, readable

EST = ["estimate", "ci_low", "ci_high", "method", "n", "n_positive"]


def test_an_estimate_and_its_bounds_are_one_cell() -> None:
    rows = [
        ("proposed", "AUROC", 0.925, 0.88, 0.9649, "DeLong", 1201, 600),
        ("proposed", "PPV", np.nan, np.nan, np.nan, "undefined", 1201, 600),
    ]
    shown = readable(pd.DataFrame(rows, columns=["arm", "metric", *EST]))
    assert list(shown.columns) == ["Arm", "Metric", "Estimate (95 % CI)", "Method", "Scans", "With metastasis"]
    assert shown.to_numpy().tolist() == [
        ["Proposed", "AUROC", "0.93 (0.88–0.96)", "DeLong", "1,201", "600"],
        ["Proposed", "PPV", "—", "undefined", "1,201", "600"],
    ]


def test_arms_stand_side_by_side() -> None:
    rows = [
        (arm, metric, 0.5 + shift, 0.4, 0.6, "m", 10, 5)
        for arm, shift in (("vgg16", 0.0), ("proposed", 0.04))
        for metric in ("sensitivity", "Brier")
    ]
    shown = readable(pd.DataFrame(rows, columns=["arm", "metric", *EST]))
    assert list(shown.columns) == ["Metric", "VGG16", "Proposed"]
    assert shown["Metric"].tolist() == ["Sensitivity", "Brier score"]
    assert shown["Proposed"].tolist() == ["0.54 (0.40–0.60)"] * 2
    rows[0] = ("vgg16", "sensitivity", np.nan, np.nan, np.nan, "undefined: no scan with metastasis", 10, 0)
    assert readable(pd.DataFrame(rows, columns=["arm", "metric", *EST]))["VGG16"][0] == "undefined"


def test_subgroups_have_a_row_each_and_a_column_per_metric() -> None:
    rows = [
        ("sex", group, "proposed", metric, value, value, value, "m", n, 5, note)
        for group, n, value, note in (("F", 20, 0.9, ""), ("M", 9, np.nan, "too few to say: 9 scans"))
        for metric in ("AUROC", "sensitivity")
    ]
    shown = readable(pd.DataFrame(rows, columns=["factor", "group", "arm", "metric", *EST, "note"]))
    assert list(shown.columns) == ["Factor", "Group", "Arm", "Scans", "With metastasis", "AUROC", "Sensitivity"]
    assert shown["AUROC"].tolist() == ["0.90 (0.90–0.90)", "too few to say"]
    assert shown["Scans"].tolist() == ["20", "9"]


def test_p_values_counts_and_labels_have_one_form() -> None:
    table = pd.DataFrame({"p_holm": [0.0004, 0.5], "y_true": [1, 0], "n": [2000, 3], "ratio": [1.23456, -2.0]})
    shown = readable(table)
    assert shown["P, Holm-adjusted"].tolist() == ["<0.001", "0.50"]
    assert shown["Metastasis"].tolist() == ["yes", "no"] and shown["Scans"].tolist() == ["2,000", "3"]
    assert shown["Ratio"].tolist() == ["1.235", "−2.000"]


def test_a_column_without_anything_is_left_out_and_a_gap_shown() -> None:
    shown = readable(pd.DataFrame({"group": ["a", ""], "note": ["", ""], "share": [0.5, np.nan]}))
    assert list(shown.columns) == ["Group", "Share"]
    assert shown.to_numpy().tolist() == [["a", "0.500"], ["", "—"]]


def test_a_table_too_wide_for_a_page_is_turned_round() -> None:
    wide = pd.DataFrame([["x", *range(9)], ["y", *range(9)]], columns=["Arm", *(f"M{i}" for i in range(9))])
    shown = readable(wide)
    assert list(shown.columns) == ["Arm", "x", "y"] and len(shown) == 9
    same = readable(wide.assign(Arm="x"))
    assert same.shape == wide.shape, "two columns of one name would lose one"


def test_a_table_says_how_its_intervals_were_made() -> None:
    rows = [
        ("AUROC", "DeLong", 0.1), ("accuracy", "Wilson", 0.1), ("NPV", "Wilson", 0.1),
        ("PPV", "undefined: no scan was called so", np.nan),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["metric", "method", "ci_low"])
    assert methods_sentence(table) == (
        "95 % intervals: DeLong (AUROC); Wilson (Accuracy, NPV). Undefined: PPV (no scan was called so)."
    )
    tests = pd.DataFrame({"quantity": ["AUROC"], "test": ["DeLong"], "method": ["x"]})
    assert methods_sentence(tests) == "Tests: DeLong (AUROC)."
    assert methods_sentence(pd.DataFrame({"method": ["platt"]})) == "", "a method that made no interval"
    assert methods_sentence(pd.DataFrame({"Level": ["F"], "test": ["12 (40.0)"]})) == "", "a partition is no test"
