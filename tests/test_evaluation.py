"""Evaluation: metrics and thresholds, each against an independent reference."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from sklearn import metrics as sk

from bonescan_utils.evaluation import METRICS, auroc, metrics_table


def make_predictions(n=60, *, arms=("proposed", "vgg16"), seed=0, scans_per_patient=1, partition="test"):
    """Scores of arms, the better the earlier they stand, labels 0/1 in turn."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(n) % 2
    parts = []
    for rank, arm in enumerate(arms):
        latent = (1.6 - 0.5 * rank) * y_true + rng.normal(size=n)
        columns = {
            "scan_id": [f"s{i:04d}" for i in range(n)],
            "patient_id": [f"p{i // scans_per_patient:04d}" for i in range(n)],
            "arm": arm,
            "partition": partition,
            "y_true": y_true,
            "y_score": np.round(1 / (1 + np.exp(0.8 - latent)), 2),  # rounding makes ties
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def row_of(table, **wanted):
    """The one row of a table with the wanted cells."""
    keep = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    assert keep.sum() == 1
    return table[keep].iloc[0]


labels_and_scores = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


# ----------------------------------------------------------------------------------------------- metrics
def test_metrics_equal_sklearn():
    predictions = make_predictions(60)
    table = metrics_table(predictions, {"proposed": 0.5, "vgg16": 0.4}, seed=1, n_boot=100)
    assert list(table.columns) == ["arm", "metric", *auroc([0, 1], [0, 1])._fields]
    assert list(table["metric"]) == METRICS * 2
    one = predictions[predictions["arm"] == "vgg16"]
    true, score = one["y_true"], one["y_score"]
    called = (score >= 0.4).astype(int)
    expected = {
        "AUROC": sk.roc_auc_score(true, score),
        "AUPRC": sk.average_precision_score(true, score),
        "accuracy": sk.accuracy_score(true, called),
        "balanced_accuracy": sk.balanced_accuracy_score(true, called),
        "sensitivity": sk.recall_score(true, called),
        "specificity": sk.recall_score(true, called, pos_label=0),
        "PPV": sk.precision_score(true, called),
        "NPV": sk.precision_score(true, called, pos_label=0),
        "F1": sk.f1_score(true, called),
        "Brier": sk.brier_score_loss(true, score),
        "LR+": sk.class_likelihood_ratios(true, called)[0],
        "LR-": sk.class_likelihood_ratios(true, called)[1],
        "Youden": sk.recall_score(true, called) + sk.recall_score(true, called, pos_label=0) - 1,
        "kappa": sk.cohen_kappa_score(true, called),
    }
    found = table[table["arm"] == "vgg16"].set_index("metric")["estimate"].to_dict()
    assert found == pytest.approx(expected)
    assert ((table["ci_low"] <= table["estimate"]) & (table["estimate"] <= table["ci_high"])).all()
    assert (table["ci_low"] < table["ci_high"]).all()
    assert table["n"].eq(60).all() and table["n_positive"].eq(30).all()
    proportions = dict.fromkeys(("accuracy", "sensitivity", "specificity", "PPV", "NPV"), "Wilson")
    forms = {"AUROC": "DeLong", "LR+": "Koopman score", "LR-": "Koopman score", **proportions}
    forms |= dict.fromkeys(("Youden", "balanced_accuracy"), "Newcombe hybrid")
    methods = table[table["arm"] == "vgg16"].set_index("metric")["method"].to_dict()
    assert {name: method for name, method in methods.items() if not method.startswith("patient bootstrap")} == forms


def test_wilson_equals_its_closed_form():
    table = metrics_table(make_predictions(60, arms=["a"]), {"a": 0.5}, seed=0, n_boot=100)
    row = row_of(table, metric="sensitivity")
    z, n, p = 1.959963985, 30, row["estimate"]
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert row["method"] == "Wilson"
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_metrics_are_reproducible_and_ignore_row_order():
    predictions = make_predictions(40)
    thresholds = {"proposed": 0.5, "vgg16": 0.5}
    first = metrics_table(predictions, thresholds, seed=7, n_boot=200)
    shuffled = predictions.groupby("arm", sort=False, group_keys=False).sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(first, metrics_table(shuffled, thresholds, seed=7, n_boot=200))
    other = metrics_table(predictions, thresholds, seed=8, n_boot=200)
    assert not first["ci_low"].equals(other["ci_low"])


def test_only_the_partition_asked_for_counts():
    test, tuning = make_predictions(40), make_predictions(40, seed=5, partition="tuning")
    tuning["scan_id"] += "t"
    thresholds = {"proposed": 0.5, "vgg16": 0.5}
    both = metrics_table(pd.concat([tuning, test]), thresholds, seed=0, n_boot=100)
    pd.testing.assert_frame_equal(both, metrics_table(test, thresholds, seed=0, n_boot=100))
    with pytest.raises(ValueError, match=r"no rows with partition = 'tuning'; found \['test'\]"):
        metrics_table(test, thresholds, seed=0, partition="tuning")


def test_patients_are_resampled_whole():
    once = make_predictions(100, arms=["a"])
    copies = [once.assign(scan_id=once["scan_id"] + str(copy)) for copy in range(4)]
    fourfold = pd.concat(copies, ignore_index=True)  # four identical scans a patient add no information
    single = metrics_table(once, {"a": 0.5}, seed=0).set_index("metric")
    grouped = metrics_table(fourfold, {"a": 0.5}, seed=0).set_index("metric")
    assert grouped["method"].eq("patient bootstrap, BCa").all()
    width = grouped["ci_high"] - grouped["ci_low"]
    assert (
        (width / (single["ci_high"] - single["ci_low"])).between(0.75, 1.35).all()
    )  # half as wide were copies counted
    assert grouped["estimate"].to_dict() == pytest.approx(single["estimate"].to_dict())


def test_bootstrap_auroc_agrees_with_delong():
    single = metrics_table(make_predictions(200, arms=["a"]), {"a": 0.5}, seed=0)
    paired = make_predictions(200, arms=["a"], scans_per_patient=2)
    both = metrics_table(paired, {"a": 0.5}, seed=0)  # each patient has one positive and one negative scan
    low, high = row_of(single, metric="AUROC")[["ci_low", "ci_high"]]
    assert row_of(both, metric="AUROC")[["ci_low", "ci_high"]].tolist() == pytest.approx([low, high], abs=0.02)


def test_bootstrap_of_2000_times_1000_scans_takes_seconds():
    predictions = make_predictions(1000, arms=["a"])
    start = time.perf_counter()
    metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=2000)
    assert time.perf_counter() - start < 20  # about 1.5 s on a free core


@pytest.mark.parametrize("scans_per_patient", [1, 2])
@pytest.mark.parametrize(
    ("threshold", "undefined"),
    [(1.5, {"PPV", "LR+"}), (0.0, {"NPV", "LR-"}), (0.5, set())],
)
def test_what_does_not_exist_is_undefined_with_its_reason(threshold, undefined, scans_per_patient):
    predictions = make_predictions(24, arms=["a"], scans_per_patient=scans_per_patient)
    table = metrics_table(predictions, {"a": threshold}, seed=0, n_boot=100)
    absent = table[table["method"].str.startswith("undefined: no scan was called")]
    assert set(absent["metric"]) == undefined
    word = "positive" if "PPV" in undefined else "negative"
    assert absent["method"].eq(f"undefined: no scan was called {word}").all()
    assert table["n"].eq(24).all() and table["n_positive"].eq(12).all()
    assert absent[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    assert table.drop(absent.index)[["estimate", "ci_low", "ci_high"]].notna().all(axis=None)


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_infinite_likelihood_ratio_is_undefined_and_says_how_large_it_is_at_least(scans_per_patient):
    one = make_predictions(40, arms=["a"], scans_per_patient=scans_per_patient)
    predictions = one.assign(y_score=one["y_true"] * np.where(np.arange(40) < 30, 0.9, 0.1))
    table = metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=100)
    row = row_of(table, metric="LR+")
    assert np.isnan(row["estimate"]) and "infinite without any false alarm; at least" in row["method"]
    assert row_of(table, metric="LR-")["estimate"] == pytest.approx(0.25)
    swapped = one.assign(y_score=1 - predictions["y_score"], y_true=1 - one["y_true"])
    row = row_of(metrics_table(swapped, {"a": 0.5}, seed=0, n_boot=100), metric="LR-")
    assert row["estimate"] == 0, "no true positive is missed"


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_constant_scores_rank_nothing(scans_per_patient):
    predictions = make_predictions(24, arms=["a"], scans_per_patient=scans_per_patient).assign(y_score=0.5)
    table = metrics_table(predictions, {"a": 0.7}, seed=0, n_boot=100)
    blind = table[table["metric"].isin(["AUROC", "AUPRC"])]
    assert blind["estimate"].isna().all()
    assert blind["method"].eq("undefined: every scan has the same score").all()
    assert table["n"].eq(24).all() and table["n_positive"].eq(12).all()
    assert row_of(table, metric="specificity")["estimate"] == 1


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_a_perfect_arm_has_one_and_an_interval_with_width(scans_per_patient):
    one = make_predictions(40, arms=["a"], scans_per_patient=scans_per_patient)
    table = metrics_table(one.assign(y_score=0.0 + one["y_true"]), {"a": 0.5}, seed=0, n_boot=500)
    best = table[~table["metric"].isin(["Brier", "LR+", "LR-"])]
    assert best["estimate"].eq(1).all() and best["ci_high"].eq(1).all()
    assert best["ci_low"].between(0.5, 0.95).all()
    brier = row_of(table, metric="Brier")
    assert brier["estimate"] == brier["ci_low"] == 0 and 0 < brier["ci_high"] < 0.2


def test_bca_moves_only_the_bootstrap():
    predictions = make_predictions(60, arms=["a"])
    plain = metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=400, interval="percentile")
    bca = metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=400)
    moved = bca["method"].eq("patient bootstrap, BCa")
    assert set(bca[moved]["metric"]) == {"AUPRC", "F1", "Brier", "kappa"}
    pd.testing.assert_frame_equal(plain[~moved], bca[~moved])
    assert bca["estimate"].equals(plain["estimate"]) and not bca["ci_low"].equals(plain["ci_low"])
    with pytest.raises(ValueError, match="interval must be one of"):
        metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=100, interval="basic")


def test_metrics_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics_table(make_predictions(20), {"proposed": 0.5, "vgg16": 2.0}, seed=0, n_boot=100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop(columns="patient_id"), "lack column.* patient_id"),
        (lambda p: p.assign(y_score=p["y_score"] + 1), "within 0-1, got .*scan s0000, arm proposed"),
        (lambda p: p.assign(y_true=1), "AUROC undefined: .*arm proposed, partition test"),
        (lambda p: pd.concat([p, p.head(1)]), "'s0000' occurs more than once in arm 'proposed'"),
        (lambda p: p.assign(y_true=(p["arm"] == "vgg16").astype(int)), "arms disagree on y_true of scan"),
    ],
)
def test_bad_predictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        metrics_table(change(make_predictions(10)), {"proposed": 0.5, "vgg16": 0.5}, seed=0)


def test_a_missing_threshold_is_named():
    with pytest.raises(ValueError, match="no usable threshold for arm 'vgg16'"):
        metrics_table(make_predictions(10), {"proposed": 0.5}, seed=0, n_boot=100)
    with pytest.raises(ValueError, match="n_boot must be at least 100"):
        metrics_table(make_predictions(10), {"proposed": 0.5}, seed=0, n_boot=10)
