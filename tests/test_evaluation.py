"""Evaluation: metrics, thresholds, curves and groups, each against an independent reference."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bonescan_utils import evaluation
from bonescan_utils.evaluation import METRICS, auroc, choose_threshold, choose_thresholds, metrics_table


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


def delong_by_loops(y_true, y_score):
    """AUROC and DeLong variance from placement values, pair by pair."""
    positive = [s for y, s in zip(y_true, y_score, strict=True) if y]
    negative = [s for y, s in zip(y_true, y_score, strict=True) if not y]
    kernel = [[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive]
    v10 = [sum(row) / len(negative) for row in kernel]
    v01 = [sum(row[j] for row in kernel) / len(positive) for j in range(len(negative))]
    return sum(v10) / len(v10), np.var(v10, ddof=1) / len(v10) + np.var(v01, ddof=1) / len(v01)


# ------------------------------------------------------------------------------------------------- AUROC
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
    _, _, interval, _ = Delong_test(
        y_true, wide["proposed"].to_numpy(), wide["vgg16"].to_numpy(), return_auc=False
    )
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


def test_constant_scores_are_chance_with_an_interval():
    found = auroc([0, 1] * 15, [0.5] * 30)
    assert found.estimate == 0.5
    assert found.ci_low < 0.4 and found.ci_high > 0.6
    assert found.ci_low + found.ci_high == pytest.approx(1)


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


labels_and_scores = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@settings(max_examples=60, deadline=None)
@given(labels_and_scores)
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
    }
    found = table[table["arm"] == "vgg16"].set_index("metric")["estimate"].to_dict()
    assert found == pytest.approx(expected)
    assert ((table["ci_low"] <= table["estimate"]) & (table["estimate"] <= table["ci_high"])).all()
    assert (table["ci_low"] < table["ci_high"]).all()
    assert table["n"].eq(60).all() and table["n_positive"].eq(30).all()


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
    assert grouped["method"].eq("patient bootstrap").all()
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
    assert row_of(both, metric="AUROC")[["ci_low", "ci_high"]].tolist() == pytest.approx(
        [low, high], abs=0.02
    )


def test_bootstrap_of_2000_times_1000_scans_takes_seconds():
    predictions = make_predictions(1000, arms=["a"])
    start = time.perf_counter()
    metrics_table(predictions, {"a": 0.5}, seed=0, n_boot=2000)
    assert time.perf_counter() - start < 20  # about 1.5 s on a free core


def test_ppv_without_positive_calls_is_marked_undefined():
    table = metrics_table(make_predictions(20, arms=["a"]), {"a": 1.5}, seed=0, n_boot=100)
    row = row_of(table, metric="PPV")
    assert np.isnan(row["estimate"]) and row["method"].startswith("undefined")
    assert row_of(table, metric="sensitivity")["estimate"] == 0


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


# -------------------------------------------------------------------------------------------- thresholds
def test_youden_threshold_by_hand():
    y_true, y_score = [0, 0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    # cut between 0.3 and 0.4: sensitivity 3/3, specificity 3/4; the next best has 2/3 and 4/4
    assert choose_threshold(y_true, y_score) == pytest.approx(0.35)


def test_threshold_rules():
    y_true, y_score = [0, 1, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert choose_threshold(y_true, y_score, rule="sensitivity", target=1.0) == pytest.approx(0.15)
    assert choose_threshold(y_true, y_score, rule="sensitivity", target=0.6) == pytest.approx(0.45)
    assert choose_threshold(y_true, y_score, rule="f1") == pytest.approx(0.45)
    assert choose_threshold([0, 1], [0.5, 0.5]) == 0.5  # nothing to choose: call all
    with pytest.raises(ValueError, match="rule must be one of"):
        choose_threshold(y_true, y_score, rule="best")
    with pytest.raises(ValueError, match="threshold undefined"):
        choose_threshold([1, 1], [0.1, 0.2])


@settings(max_examples=40, deadline=None)
@given(labels_and_scores)
def test_no_cut_beats_the_youden_threshold(pairs):
    y_true = np.array([label for label, _ in pairs], dtype=int)
    y_score = np.array([score for _, score in pairs]) / 10
    best = sk.balanced_accuracy_score(y_true, y_score >= choose_threshold(y_true, y_score))
    for cut in np.linspace(-0.05, 0.95, 21):
        assert best >= sk.balanced_accuracy_score(y_true, y_score >= cut) - 1e-12


def test_thresholds_come_from_tuning_scores():
    tuning = make_predictions(30, partition="tuning")
    predictions = pd.concat([tuning, make_predictions(30, seed=9).assign(y_score=0.5)])
    found = choose_thresholds(predictions)
    one = tuning[tuning["arm"] == "vgg16"]
    assert found["vgg16"] == choose_threshold(one["y_true"], one["y_score"])
    assert list(found) == ["proposed", "vgg16"]


# ------------------------------------------------------------------------------------------------ curves
def test_roc_table_spans_the_unit_square_and_holds_the_area():
    predictions = make_predictions(50)
    table = evaluation.roc_table(predictions)
    assert list(table.columns) == ["arm", "fpr", "sensitivity", "threshold"]
    one = table[table["arm"] == "vgg16"]
    assert one[["fpr", "sensitivity"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    scores = predictions[predictions["arm"] == "vgg16"]
    area = auroc(scores["y_true"], scores["y_score"]).estimate
    assert np.trapezoid(one["sensitivity"], one["fpr"]) == pytest.approx(area)


def test_pr_table_holds_average_precision():
    predictions = make_predictions(50, arms=["a"])
    table = evaluation.pr_table(predictions)
    assert list(table.columns) == ["arm", "sensitivity", "ppv", "threshold"]
    area = -np.sum(np.diff(table["sensitivity"]) * table["ppv"].to_numpy()[:-1])
    assert area == pytest.approx(sk.average_precision_score(predictions["y_true"], predictions["y_score"]))


def test_confusion_table_counts_every_scan():
    table = evaluation.confusion_table(make_predictions(50), {"proposed": 0.5, "vgg16": 0.3})
    assert list(table.columns) == ["arm", "threshold", "tp", "fn", "fp", "tn"]
    assert (table[["tp", "fn"]].sum(axis=1) == 25).all() and (table[["fp", "tn"]].sum(axis=1) == 25).all()


def test_calibration_table_counts_every_scan_once_and_keeps_ties_together():
    predictions = make_predictions(60, arms=["a"])
    table = evaluation.calibration_table(predictions, bins=5)
    assert table["n"].sum() == 60 and table["mean_score"].is_monotonic_increasing
    assert (table["observed"] * table["n"]).sum() == pytest.approx(predictions["y_true"].sum())
    assert len(evaluation.calibration_table(predictions.assign(y_score=0.5), bins=5)) == 1


# ------------------------------------------------------------------------------------------------ groups
def lesion_bands(predictions, bands):
    """Lesion count bands for the positive scans in turn, '' for the others."""
    scans = predictions.drop_duplicates("scan_id").set_index("scan_id")["y_true"]
    return pd.Series(
        [bands[i // 2 % len(bands)] if y else "" for i, y in enumerate(scans)], index=scans.index
    )


def test_lesion_bands_are_set_against_all_negative_scans():
    predictions = make_predictions(80, arms=["a"])
    groups = lesion_bands(predictions, [">=7", "1-2", "3-6", "3-6"])
    table = evaluation.auroc_by_group(predictions, groups, min_scans=5)
    assert table["group"].tolist() == ["1-2", "3-6", ">=7"]
    assert table["n"].tolist() == [50, 60, 50] and table["n_positive"].tolist() == [10, 20, 10]
    band = predictions["scan_id"].map(groups)
    part = predictions[(predictions["y_true"] == 0) | (band == "1-2")]
    expected = sk.roc_auc_score(part["y_true"], part["y_score"])
    assert row_of(table, group="1-2")["estimate"] == pytest.approx(expected)


def test_small_groups_get_no_number():
    predictions = make_predictions(40, arms=["a"])
    table = evaluation.auroc_by_group(predictions, lesion_bands(predictions, ["1-2"] * 9 + ["3-6"]))
    row = row_of(table, group="3-6")
    assert row["note"] == "too few to say" and np.isnan(row["estimate"])
    assert row_of(table, group="1-2")["note"] == ""


def test_groups_of_both_labels_and_unknown():
    predictions = make_predictions(60, arms=["a"])
    scans = predictions["scan_id"]
    groups = pd.Series(["F", "F", "M", "M", None, None] * 10, index=scans)
    table = evaluation.auroc_by_group(predictions, groups, against="same")
    assert table["group"].tolist() == ["F", "M", "unknown"] and table["n"].tolist() == [20, 20, 20]
    ordered = groups.fillna("F").astype(pd.CategoricalDtype(["M", "F"], ordered=True))
    assert evaluation.auroc_by_group(predictions, ordered, against="same")["group"].tolist() == ["M", "F"]
    with pytest.raises(ValueError, match="against must be"):
        evaluation.auroc_by_group(predictions, groups, against="none")
    with pytest.raises(ValueError, match="'s0000' has more than one group"):
        evaluation.auroc_by_group(predictions, pd.concat([groups, groups]))
