"""Calibration: reliability curve, slope and intercept, ECE and parts of the Brier score, against other libraries."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from test_evaluation import make_predictions, row_of

from bonescan_utils.calibration import calibration_metrics, calibration_table
from bonescan_utils.intervals import Estimate, wilson


def calibrated(n=4000, *, slope=1.0, shift=0.0, seed=0):
    """Scores whose log odds are `slope` times the true ones plus `shift`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, n)
    ids = [f"s{i:05d}" for i in range(n)]
    columns = {"scan_id": ids, "patient_id": ids, "arm": "a", "partition": "test"}
    labels = (rng.random(n) < expit(odds)).astype(int)
    return pd.DataFrame(columns | {"y_true": labels, "y_score": expit(slope * odds + shift)})


def test_reliability_curve_equals_sklearn():
    predictions = calibrated(500)
    table = calibration_table(predictions, bins=10)
    observed, mean = calibration_curve(predictions["y_true"], predictions["y_score"], n_bins=10, strategy="quantile")
    assert table["observed"].tolist() == pytest.approx(observed.tolist())
    assert table["mean_score"].tolist() == pytest.approx(mean.tolist())
    first = table.iloc[0]
    assert (first["ci_low"], first["ci_high"]) == pytest.approx(wilson(first["n_positive"], first["n"]))
    assert table["method"].eq("Wilson").all()


def test_every_scan_counts_once_and_ties_stay_together():
    predictions = make_predictions(60, arms=["a"])
    table = calibration_table(predictions, bins=5)
    assert table["n"].sum() == 60 and table["mean_score"].is_monotonic_increasing
    assert table["n_positive"].sum() == predictions["y_true"].sum()
    assert len(calibration_table(predictions.assign(y_score=0.5), bins=5)) == 1


def test_patients_with_several_scans_widen_the_reliability_curve():
    once = make_predictions(60, arms=["a"])
    fourfold = pd.concat([once.assign(scan_id=once["scan_id"] + str(copy)) for copy in range(4)])
    single, grouped = calibration_table(once, bins=3), calibration_table(fourfold, bins=3, n_boot=1000)
    assert grouped["method"].str.startswith("patient bootstrap").all()
    widths = [(table["ci_high"] - table["ci_low"]).to_numpy() for table in (single, grouped)]
    assert (widths[1] / widths[0] > 0.7).all()  # 0.5 if copies counted as patients
    assert grouped["observed"].tolist() == pytest.approx(single["observed"].tolist())


def test_slope_and_intercept_equal_sklearn_and_find_the_truth():
    predictions = calibrated(slope=2.0, shift=0.5)
    table = calibration_metrics(predictions, seed=0, n_boot=100)
    assert list(table.columns) == ["arm", "metric", *Estimate._fields]
    slope, odds = row_of(table, metric="slope"), logit(predictions["y_score"].to_numpy())
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], predictions["y_true"])
    assert slope["estimate"] == pytest.approx(fit.coef_[0, 0], rel=1e-4)
    assert slope["ci_low"] < 0.5 < slope["ci_high"]  # overconfident twice
    # at slope 1 the shift makes the mean score equal the observed share
    shift = row_of(table, metric="intercept")["estimate"]
    assert expit(odds + shift).mean() == pytest.approx(predictions["y_true"].mean(), abs=1e-6)
    good = calibration_metrics(calibrated(seed=3), seed=0, n_boot=100).set_index("metric")
    for name, ideal in (("slope", 1), ("intercept", 0)):
        assert good.loc[name, "ci_low"] < ideal < good.loc[name, "ci_high"]


def test_ece_by_hand():
    predictions = make_predictions(8, arms=["a"]).assign(y_true=[0, 0, 0, 1, 0, 1, 1, 1], y_score=[0.2] * 4 + [0.9] * 4)
    table = calibration_metrics(predictions, seed=0, bins=2, n_boot=100)
    # shares seen 1/4 and 3/4 against 0.2 and 0.9, each half of the scans
    assert row_of(table, metric="ECE")["estimate"] == pytest.approx((0.05 + 0.15) / 2)
    assert row_of(table, metric="reliability")["estimate"] == pytest.approx((0.05**2 + 0.15**2) / 2)
    assert row_of(table, metric="resolution")["estimate"] == pytest.approx(0.25**2)
    assert row_of(table, metric="uncertainty")["estimate"] == pytest.approx(0.25)
    assert row_of(table, metric="within_bin")["estimate"] == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_parts_add_up_to_the_brier_score_of_sklearn(seed, bins):
    predictions = make_predictions(40, arms=["a"], seed=seed)
    found = calibration_metrics(predictions, seed=0, bins=bins, n_boot=100).set_index("metric")["estimate"]
    assert found["Brier"] == pytest.approx(brier_score_loss(predictions["y_true"], predictions["y_score"]))
    parts = found["reliability"] - found["resolution"] + found["uncertainty"] + found["within_bin"]
    assert parts == pytest.approx(found["Brier"])
    assert min(found[["ECE", "reliability", "resolution"]]) >= 0


def test_ece_of_calibrated_scores_is_what_chance_gives():
    found = calibration_metrics(calibrated(500), seed=0, n_boot=500).set_index("metric")
    assert found.loc["ECE_if_calibrated", "ci_low"] < found.loc["ECE", "estimate"]
    assert found.loc["ECE", "estimate"] < found.loc["ECE_if_calibrated", "ci_high"]
    bad = calibration_metrics(calibrated(500, slope=3), seed=0, n_boot=500).set_index("metric")
    assert bad.loc["ECE", "estimate"] > bad.loc["ECE_if_calibrated", "ci_high"]


def test_what_has_no_finite_value_is_undefined_with_its_reason():
    one = make_predictions(20, arms=["a"])
    perfect = calibration_metrics(one.assign(y_score=0.2 + 0.6 * one["y_true"]), seed=0, n_boot=100)
    assert "separate the labels" in row_of(perfect, metric="slope")["method"]
    blind = calibration_metrics(one.assign(y_score=0.5), seed=0, n_boot=100)
    assert row_of(blind, metric="slope")["method"] == "undefined: every scan has the same score"
    assert row_of(blind, metric="intercept")["estimate"] == pytest.approx(0, abs=1e-9)
    for table in (perfect, blind):
        missing = table["estimate"].isna()
        assert missing.sum() == 1 and table[missing]["method"].str.startswith("undefined").all()
    with pytest.raises(ValueError, match="calibration undefined: it needs scans of both labels"):
        calibration_metrics(one.assign(y_true=1), seed=0)


def test_clustered_slope_is_as_uncertain_as_its_patients():
    once = calibrated(150)
    copies = pd.concat([once.assign(scan_id=once["scan_id"] + str(copy)) for copy in range(4)])
    single, grouped = (calibration_metrics(p, seed=0, n_boot=100).set_index("metric") for p in (once, copies))
    assert grouped.loc["slope", "method"] == "logistic regression, cluster-robust"
    width = [table.loc["slope", "ci_high"] - table.loc["slope", "ci_low"] for table in (single, grouped)]
    assert width[1] / width[0] == pytest.approx(1, abs=0.25)
