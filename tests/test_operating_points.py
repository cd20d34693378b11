"""Operating points: predictive values elsewhere, fixed points and the ROC's band."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation import make_predictions, row_of

from bonescan_utils.evaluation import metrics_table
from bonescan_utils.intervals import Estimate, wilson
from bonescan_utils.operating_points import fixed_points_table, predictive_values_table, roc_band_table


def test_bayes_rule_by_counting_a_population():
    predictions = make_predictions(80, arms=["a"])
    table = predictive_values_table(predictions, {"a": 0.5}, prevalences=[0.1])
    assert list(table.columns) == ["arm", "prevalence", "metric", *Estimate._fields]
    rates = metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=100).set_index("metric")["estimate"]
    ill, well = 1000, 9000
    found, spared = rates["sensitivity"] * ill, rates["specificity"] * well
    assert row_of(table, metric="PPV")["estimate"] == pytest.approx(found / (found + well - spared))
    assert row_of(table, metric="NPV")["estimate"] == pytest.approx(spared / (spared + ill - found))
    assert (table["ci_low"] < table["estimate"]).all() and (table["estimate"] < table["ci_high"]).all()


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_at_the_samples_own_prevalence_the_values_are_the_samples(scans_per_patient):
    predictions = make_predictions(80, arms=["a"], scans_per_patient=scans_per_patient)
    table = predictive_values_table(predictions, {"a": 0.5}, prevalences=[0.5], n_boot=500)
    own = metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=500)
    for metric in ("PPV", "NPV"):
        here, there = row_of(table, metric=metric), row_of(own, metric=metric)
        assert here["estimate"] == pytest.approx(there["estimate"])
        assert here["ci_low"] == pytest.approx(there["ci_low"], abs=0.05)
    expected = "patient bootstrap" if scans_per_patient == 2 else "Koopman score"
    assert table["method"].eq(expected).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.98))
def test_ppv_rises_and_npv_falls_with_prevalence(seed, prevalence):
    predictions = make_predictions(40, arms=["a"], seed=seed)
    table = predictive_values_table(predictions, {"a": 0.5}, prevalences=[prevalence, prevalence + 0.01])
    for metric, sign in (("PPV", 1), ("NPV", -1)):
        rows = table[table["metric"] == metric]
        for name in ("estimate", "ci_low", "ci_high"):
            assert sign * np.diff(rows[name])[0] >= -1e-12
        assert ((rows["ci_low"] <= rows["estimate"]) & (rows["estimate"] <= rows["ci_high"])).all()


def test_no_false_alarm_is_a_ppv_of_one_with_an_interval():
    one = make_predictions(40, arms=["a"])
    table = predictive_values_table(one.assign(y_score=one["y_true"] * 1.0), {"a": 0.5}, prevalences=[0.1])
    row = row_of(table, metric="PPV")
    assert row["estimate"] == row["ci_high"] == 1 and 0 < row["ci_low"] < 0.9
    nobody = predictive_values_table(one, {"a": 1.5}, prevalences=[0.1])
    assert row_of(nobody, metric="PPV")["method"] == "undefined: no scan was called positive"
    with pytest.raises(ValueError, match=r"prevalences must be between 0 and 1, got \[1.0\]"):
        predictive_values_table(one, {"a": 0.5}, prevalences=[0.1, 1.0])


def test_fixed_points_are_undefined_for_constant_scores_and_have_width_for_perfect_ones():
    one = make_predictions(400, arms=["a"])
    blind = fixed_points_table(one.assign(y_score=0.5), seed=0, n_boot=100)
    assert blind["estimate"].isna().all() and blind["method"].str.startswith("undefined: every scan").all()
    perfect = fixed_points_table(one.assign(y_score=one["y_true"] * 0.8 + 0.1), seed=0, n_boot=400)
    assert perfect["estimate"].eq(1).all() and perfect["ci_low"].between(0.9, 0.995).all()
    with pytest.raises(ValueError, match="targets must be between 0 and 1"):
        fixed_points_table(one, seed=0, targets=[])


def test_roc_band_holds_the_curve_and_is_wider_with_fewer_scans():
    few, many = (roc_band_table(make_predictions(n, arms=["a"]), seed=0, points=21, n_boot=400) for n in (40, 400))
    for band in (few, many):
        assert list(band.columns) == ["arm", "fpr", *Estimate._fields]
        assert ((band["ci_low"] <= band["estimate"]) & (band["estimate"] <= band["ci_high"])).all()
        assert band["estimate"].is_monotonic_increasing and band["estimate"].iloc[-1] == 1
    inner = slice(2, 12)
    width = [(band["ci_high"] - band["ci_low"]).iloc[inner].mean() for band in (few, many)]
    assert width[0] > 2 * width[1]
    perfect = make_predictions(40, arms=["a"]).assign(y_score=lambda rows: rows["y_true"] * 0.8 + 0.1)
    band = roc_band_table(perfect, seed=0, points=21, n_boot=400)
    assert band["estimate"].eq(1).all() and band["ci_low"].is_monotonic_increasing
    assert band["ci_low"].iloc[10] == pytest.approx(wilson(20, 20)[0], abs=0.05)
    fixed = fixed_points_table(make_predictions(400, arms=["a"]), seed=0, n_boot=400)
    row, point = row_of(fixed, metric="sensitivity", at=0.90), many[np.isclose(many["fpr"], 0.1)].iloc[0]
    assert row[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(
        point[["estimate", "ci_low", "ci_high"]].tolist()
    )
    with pytest.raises(ValueError, match="points must be at least 2"):
        roc_band_table(make_predictions(10), seed=0, points=1)


def test_one_class_is_refused():
    one = make_predictions(10, arms=["a"]).assign(y_true=1)
    for build in (fixed_points_table, roc_band_table):
        with pytest.raises(ValueError, match="undefined: it needs scans of both labels"):
            build(one, seed=0)
    with pytest.raises(ValueError, match="predictive value undefined"):
        predictive_values_table(one, {"a": 0.5})


def test_points_ignore_row_order_and_monotone_transforms():
    one = make_predictions(60, arms=["a"])
    shuffled = one.sample(frac=1, random_state=1)
    bent = one.assign(y_score=one["y_score"] ** 3)
    first = fixed_points_table(one, seed=0, n_boot=200)
    pd.testing.assert_frame_equal(first, fixed_points_table(shuffled, seed=0, n_boot=200))
    pd.testing.assert_frame_equal(first, fixed_points_table(bent, seed=0, n_boot=200))
