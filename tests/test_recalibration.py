"""Recalibration: rules fitted on tuning scores, against scikit-learn, and what they may not touch."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brute
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from test_calibration import calibrated
from test_evaluation import make_predictions

from bonescan_utils.calibration import calibration_metrics
from bonescan_utils.recalibration import COLUMNS, recalibrate, recalibration_table


def both_partitions(**change):
    """Overconfident scores of two partitions."""
    tuning, test = calibrated(800, seed=1, **change), calibrated(800, seed=2, **change)
    tuning["scan_id"] += "t"
    return pd.concat([tuning.assign(partition="tuning"), test], ignore_index=True)


def test_platt_equals_sklearn():
    predictions = both_partitions(slope=1.8, shift=-0.7)
    tuning = predictions[predictions["partition"] == "tuning"]
    odds = logit(tuning["y_score"].to_numpy())[:, None]
    # a classifier whose decision function is the log odds itself
    plain = LogisticRegression(C=np.inf).fit(odds, tuning["y_true"])
    plain.coef_, plain.intercept_ = np.array([[1.0]]), np.array([0.0])
    theirs = CalibratedClassifierCV(FrozenEstimator(plain), method="sigmoid", ensemble=False).fit(
        odds, tuning["y_true"]
    )
    found = recalibrate(predictions, method="platt")
    mine = found.loc[found["partition"] == "tuning", "y_score"].to_numpy()
    assert mine == pytest.approx(theirs.predict_proba(odds)[:, 1], abs=2e-4)


def test_no_other_temperature_has_a_smaller_loss():
    predictions = both_partitions(slope=2.5)
    tuning = predictions[predictions["partition"] == "tuning"]
    odds, y_true = logit(tuning["y_score"].to_numpy()), tuning["y_true"]
    best = brute(lambda t: log_loss(y_true, expit(odds / t[0])), [(0.5, 6)], Ns=500)[0]
    table = recalibration_table(predictions)
    assert list(table.columns) == COLUMNS
    assert table["temperature"].tolist() == pytest.approx([best], abs=1e-3)
    assert table["temperature"][0] == pytest.approx(2.5, rel=0.2) and table["n"].tolist() == [800]


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_test_scores_become_calibrated_and_keep_their_ranks(method):
    predictions = both_partitions(slope=2.5)
    found = recalibrate(predictions, method=method)
    slopes = [
        calibration_metrics(p, seed=0, n_boot=100).set_index("metric").loc["slope", "estimate"]
        for p in (predictions, found)
    ]
    assert abs(slopes[1] - 1) < 0.15 < abs(slopes[0] - 1)
    assert found["y_score"].rank().equals(predictions["y_score"].rank())
    assert found.drop(columns="y_score").equals(predictions.drop(columns="y_score"))


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_test_scans_never_change_the_rule(method):
    predictions = both_partitions(slope=2.5)
    spoiled = predictions.assign(
        y_true=np.where(predictions["partition"] == "test", 1 - predictions["y_true"], predictions["y_true"])
    )
    pd.testing.assert_frame_equal(
        recalibration_table(predictions, method=method), recalibration_table(spoiled, method=method)
    )


def test_degenerate_tuning_scores():
    tuning = make_predictions(20, arms=["a"], partition="tuning")
    constant = recalibration_table(tuning.assign(y_score=0.5))
    assert constant["note"].tolist() == ["unchanged: every tuning scan has the same score"]
    kept = recalibrate(tuning.assign(y_score=0.5))
    assert kept["y_score"].eq(0.5).all()
    separated = recalibration_table(tuning.assign(y_score=0.3 + 0.4 * tuning["y_true"]), method="platt")
    assert 0 < separated["slope"][0] < 20  # Platt's smoothing keeps it finite
    turned = recalibration_table(tuning.assign(y_score=0.7 - 0.4 * tuning["y_true"]), method="platt")
    assert turned["note"][0].startswith("ranks turned round")
    edge = recalibration_table(tuning.assign(y_score=0.49 + 0.02 * tuning["y_true"]))
    assert edge["note"][0].startswith("at the end of the range")


def test_bad_input_is_told():
    tuning = make_predictions(20, partition="tuning")
    test = make_predictions(20, arms=["proposed", "vgg16", "xception"])
    test["scan_id"] += "t"
    with pytest.raises(ValueError, match="needs tuning scores of every arm, found none of xception"):
        recalibrate(pd.concat([tuning, test]))
    with pytest.raises(ValueError, match="recalibration method must be one of"):
        recalibrate(tuning, method="isotonic")
    with pytest.raises(ValueError, match="recalibration undefined"):
        recalibrate(tuning.assign(y_true=1))
