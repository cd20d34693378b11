"""Intervals: AUROC by DeLong and Newcombe, against loops, a second package and a published example."""

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics as sk
from test_evaluation import labels_and_scores, make_predictions

from bonescan_utils.intervals import auroc, newcombe


def delong_by_loops(y_true, y_score):
    """AUROC and DeLong variance from placement values, pair by pair."""
    positive = [s for y, s in zip(y_true, y_score, strict=True) if y]
    negative = [s for y, s in zip(y_true, y_score, strict=True) if not y]
    kernel = [[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive]
    v10 = [sum(row) / len(negative) for row in kernel]
    v01 = [sum(row[j] for row in kernel) / len(positive) for j in range(len(negative))]
    return sum(v10) / len(v10), np.var(v10, ddof=1) / len(v10) + np.var(v01, ddof=1) / len(v01)


def test_auroc_of_hanley_and_mcneil_ct_ratings():
    # Radiology 1982;143:29-36, table 1: 109 CT images rated 1-5; W = 0.893. DeLong's interval of these data
    # is the worked example of Stata's roctab: area 0.8932, standard error 0.0307, 0.83295 to 0.95339.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    y_score = np.repeat(np.tile(np.arange(1, 6), 2), normal + abnormal)
    y_true = np.repeat([0, 1], [58, 51])
    found = auroc(y_true, y_score)
    assert found.estimate == pytest.approx(0.8932, abs=5e-5)
    assert (found.ci_high - found.ci_low) / 2 / 1.959964 == pytest.approx(0.0307, abs=5e-5)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.83295, 0.95339), abs=5e-6)
    assert (found.method, found.n, found.n_positive) == ("DeLong", 109, 51)


@pytest.mark.parametrize("seed", range(3))
def test_auroc_equals_placement_values_by_loops(seed):
    one = make_predictions(31, arms=["a"], seed=seed)
    area, variance = delong_by_loops(one["y_true"], one["y_score"])
    found = auroc(one["y_true"], one["y_score"])
    assert found.estimate == pytest.approx(area, abs=1e-12)
    assert found.estimate - found.ci_low == pytest.approx(1.959963985 * variance**0.5, abs=1e-9)


def test_auroc_interval_equals_mlstatkit():
    from MLstatkit import Delong_test

    wide = make_predictions(80).pivot(index="scan_id", columns="arm", values="y_score")
    y_true = make_predictions(80, arms=["proposed"])["y_true"].to_numpy()
    _, _, interval, _ = Delong_test(y_true, wide["proposed"].to_numpy(), wide["vgg16"].to_numpy(), return_auc=False)
    found = auroc(y_true, wide["proposed"])
    assert (found.ci_low, found.ci_high) == pytest.approx(interval, abs=1e-9)


def test_perfect_separation_has_an_interval_with_width():
    found = auroc([0] * 20 + [1] * 20, np.arange(40))
    assert (found.estimate, found.ci_high, found.method) == (1.0, 1.0, "Newcombe")
    assert 0.80 < found.ci_low < 0.95


def test_newcombe_of_one_pair_is_wilson_of_one_trial():
    z2 = 1.959963985**2  # one positive, one negative: AUROC is a proportion of one pair
    found = auroc([0, 1], [0.2, 0.7])
    assert (found.ci_low, found.ci_high) == pytest.approx((1 / (1 + z2), 1.0), abs=1e-6)


def test_constant_scores_have_no_area():
    found = auroc([0, 1] * 15, [0.5] * 30)
    assert np.isnan([found.estimate, found.ci_low, found.ci_high]).all()
    assert found.method == "undefined: every scan has the same score" and found.n == 30


def test_newcombe_of_no_discrimination_is_symmetric():
    low, high = newcombe(0.5, 15, 15)
    assert low < 0.4 and low + high == pytest.approx(1)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined_and_says_so(label):
    with pytest.raises(ValueError, match=f"AUROC undefined: .* 5 scans, all with metastasis = {label}"):
        auroc([label] * 5, [0.1, 0.2, 0.3, 0.4, 0.5])
    with pytest.raises(ValueError, match=r"AUROC undefined: .*no scan at all"):
        auroc([], [])


@pytest.mark.parametrize(
    ("y_true", "y_score", "message"),
    [
        ([0, 1, 2], [0.1, 0.2, 0.3], r"0 and 1 only, got also \[2\]"),
        ([0, 1], [0.1, np.nan], "finite, got nan at position 1"),
        ([0, 1], [0.1], "equally long"),
    ],
)
def test_auroc_refuses_bad_arrays(y_true, y_score, message):
    with pytest.raises(ValueError, match=message):
        auroc(y_true, y_score)


@settings(max_examples=60, deadline=None)
@given(labels_and_scores.filter(lambda pairs: len({score for _, score in pairs}) > 1))
def test_auroc_properties(pairs):
    y_true = np.array([label for label, _ in pairs], dtype=int)
    y_score = np.array([score for _, score in pairs]) / 10
    found = auroc(y_true, y_score)
    assert found.estimate == pytest.approx(sk.roc_auc_score(y_true, y_score))
    assert 0 <= found.ci_low <= found.estimate <= found.ci_high <= 1
    assert auroc(y_true, np.exp(3 * y_score)).estimate == found.estimate  # monotone
    swapped = auroc(1 - y_true, y_score)
    assert swapped.estimate == pytest.approx(1 - found.estimate)
    assert swapped.ci_low == pytest.approx(1 - found.ci_high, abs=1e-9)
