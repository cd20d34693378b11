"""AUROC, DeLong's interval and paired test, and points of the ROC curve, against R's pROC (fixtures/proc)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from bonescan_utils.intervals import auroc, delong_difference
from bonescan_utils.operating_points import fixed_points_table
from bonescan_utils.paired import paired_tests
from bonescan_utils.thresholds import choose_threshold

FOLDER = Path(__file__).parent / "fixtures" / "proc"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CASES = {
    "asah_s100b_ndka": ("asah", "s100b", "ndka"),
    "asah_wfns_s100b": ("asah", "wfns", "s100b"),
    "asah_wfns_ndka": ("asah", "wfns", "ndka"),
} | {f"random_{k}": (f"random_{k}", "a", "b") for k in range(1, 5)}


def case_of(name):
    """Labels, both score sets, and what pROC found."""
    file, first, second = CASES[name]
    data = pd.read_csv(FOLDER / f"{file}.csv")
    return data["y_true"].to_numpy(), data[first].to_numpy(float), data[second].to_numpy(float), EXPECTED[name]


def as_predictions(y_true, **arms):
    """Predictions of arms; scores are turned into ranks between 0 and 1, which changes no ROC curve."""
    ids = [f"s{i:03d}" for i in range(len(y_true))]
    parts = [
        pd.DataFrame(
            {"scan_id": ids, "patient_id": ids, "arm": arm, "partition": "test", "y_true": y_true}
            | {"y_score": rankdata(scores) / (len(scores) + 1)}
        )
        for arm, scores in arms.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("name", CASES)
def test_auroc_and_interval_equal_proc(name):
    y_true, *scores, expected = case_of(name)
    for score, theirs in zip(scores, (expected["first"], expected["second"]), strict=True):
        found = auroc(y_true, score)
        low, area, high = theirs["ci"]
        assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((area, low, min(1, high)), abs=1e-10)
        assert (found.method, found.n, found.n_positive) == ("DeLong", expected["n"], expected["n_positive"])


@pytest.mark.parametrize("name", CASES)
def test_paired_test_equals_proc(name):
    y_true, first, second, expected = case_of(name)
    difference, variance = delong_difference(y_true, first, second)
    assert difference / np.sqrt(variance) == pytest.approx(expected["z"], abs=1e-9)
    predictions = as_predictions(y_true, first=first, second=second)
    table = paired_tests(predictions, {"first": 0.5, "second": 0.5}, reference="first", n_boot=100)
    row = table[table["quantity"] == "AUROC"].iloc[0]
    assert (row["statistic"], row["p"]) == pytest.approx((expected["z"], expected["p"]), abs=1e-9)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(expected["difference_ci"], abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_fixed_points_equal_proc(name):
    y_true, first, second, expected = case_of(name)
    table = fixed_points_table(as_predictions(y_true, first=first, second=second), seed=0, n_boot=100)
    for arm in ("first", "second"):
        for metric in ("sensitivity", "specificity"):
            rows = table[(table["arm"] == arm) & (table["metric"] == metric)]
            assert rows["at"].tolist() == [0.90, 0.95]
            assert rows["estimate"].tolist() == pytest.approx(expected[arm][f"{metric}_at"], abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_youden_threshold_reaches_the_index_of_proc(name):
    y_true, first, _, expected = case_of(name)
    called = first >= choose_threshold(y_true, first)
    index = called[y_true == 1].mean() - called[y_true == 0].mean()
    assert index == pytest.approx(expected["first"]["youden"])


def test_areas_of_the_published_example_are_those_of_procs_manual():
    # manual of pROC: roc(aSAH$outcome, aSAH$s100b, ci=TRUE) and roc.test(outcome ~ wfns, s100b)
    data = pd.read_csv(FOLDER / "asah.csv")
    y_true = data["y_true"].to_numpy()
    found = auroc(y_true, data["s100b"].to_numpy(float))
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((0.7314, 0.6301, 0.8326), abs=5e-5)
    difference, variance = delong_difference(y_true, data["wfns"].to_numpy(float), data["s100b"].to_numpy(float))
    assert difference / np.sqrt(variance) == pytest.approx(2.209, abs=5e-4)
    assert auroc(y_true, data["wfns"].to_numpy(float)).estimate == pytest.approx(0.8236789, abs=5e-8)
