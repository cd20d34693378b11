"""Paired tests: DeLong, McNemar and Holm against independent references."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as sk
from test_evaluation import make_predictions, row_of

from bonescan_utils.paired import COLUMNS, holm, mcnemar, paired_tests

ARMS = ("proposed", "vgg16", "xception")
THRESHOLDS = dict.fromkeys(ARMS, 0.5)


def placements(y_true, y_score):
    """Placement values of positives and negatives, pair by pair."""
    positive, negative = y_score[y_true == 1], y_score[y_true == 0]
    kernel = np.array([[float(p > q) + 0.5 * (p == q) for q in negative] for p in positive])
    return kernel.mean(axis=1), kernel.mean(axis=0)


def scores_of(predictions, arm):
    return predictions.loc[predictions["arm"] == arm, "y_score"].to_numpy()


def test_delong_equals_placement_values_by_loops():
    predictions = make_predictions(45, arms=ARMS)
    y_true = predictions.loc[predictions["arm"] == "vgg16", "y_true"].to_numpy()
    row = row_of(paired_tests(predictions, THRESHOLDS, reference="proposed"), arm_b="vgg16", test="DeLong")
    a, b = (placements(y_true, scores_of(predictions, arm)) for arm in ("proposed", "vgg16"))
    difference = a[0].mean() - b[0].mean()
    error = np.sqrt(sum(np.var(x - y, ddof=1) / len(x) for x, y in zip(a, b, strict=True)))
    assert row["difference"] == pytest.approx(difference)
    assert row["statistic"] == pytest.approx(difference / error)
    assert row["p"] == pytest.approx(2 * norm.sf(abs(difference / error)))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (difference - norm.ppf(0.975) * error, difference + norm.ppf(0.975) * error)
    )


def test_delong_equals_mlstatkit():
    from MLstatkit import Delong_test

    predictions = make_predictions(70)
    y_true = predictions.loc[predictions["arm"] == "vgg16", "y_true"].to_numpy()
    z, p = Delong_test(
        y_true, scores_of(predictions, "vgg16"), scores_of(predictions, "proposed"),
        return_ci=False, return_auc=False,
    )  # fmt: skip
    row = row_of(paired_tests(predictions, THRESHOLDS, reference="proposed"), test="DeLong")
    assert (row["statistic"], row["p"]) == pytest.approx((z, p), abs=1e-9)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 1), (7, 7), (2, 15), (30, 12)])
def test_mcnemar_equals_the_binomial_test(only_a, only_b):
    row = mcnemar(only_a, only_b, 60)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert row["p"] == pytest.approx(expected)
    assert row["difference"] == pytest.approx((only_a - only_b) / 60)
    assert row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_mcnemar_counts_scans_that_one_arm_alone_got_right():
    predictions = pd.DataFrame(
        {
            "scan_id": list("abcdef") * 2,
            "patient_id": list("abcdef") * 2,
            "arm": list("xxxxxxyyyyyy"),
            "partition": "test",
            "y_true": [0, 0, 0, 1, 1, 1] * 2,
            "y_score": [0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9],
        }
    )
    row = row_of(paired_tests(predictions, {"x": 0.5, "y": 0.5}, reference="x"), quantity="accuracy")
    assert row["difference"] == pytest.approx(3 / 6)  # x alone right on a, d, e; y alone on none
    assert row["p"] == pytest.approx(2 * 0.5**3)


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04: 4 x 0.01 = 0.04; 3 x 0.02 = 0.06; 2 x 0.03 = 0.06; 0.04 raised to 0.06
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.5, np.nan, 0.6])) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_family_is_the_comparisons_of_one_quantity():
    table = paired_tests(make_predictions(50, arms=ARMS), THRESHOLDS, reference="proposed")
    assert list(table["quantity"]) == ["AUROC"] * 2 + ["Brier"] * 2 + ["F1"] * 2 + ["accuracy"] * 2
    assert table["n"].eq(50).all() and table["n_positive"].eq(25).all()
    for _, family in table.groupby("quantity"):
        assert family["p_holm"].to_numpy() == pytest.approx(holm(family["p"].to_numpy()))
    assert list(table.columns) == COLUMNS


def test_identical_arms_have_p_one():
    one = make_predictions(30, arms=["a"])
    table = paired_tests(pd.concat([one, one.assign(arm="b")]), {"a": 0.5, "b": 0.5}, reference="a")
    assert table["p"].tolist() == [1.0] * 4 and table["difference"].tolist() == [0.0] * 4


def test_difference_without_standard_error_has_no_p_value_and_says_why():
    one = make_predictions(20, arms=["a"])
    perfect, wrong = one.assign(y_score=one["y_true"] * 1.0), one.assign(arm="b", y_score=1.0 - one["y_true"])
    row = row_of(paired_tests(pd.concat([perfect, wrong]), {"a": 0.5, "b": 0.5}, reference="a"), quantity="AUROC")
    assert row["difference"] == 1 and np.isnan(row["p"]) and "standard error" in row["note"]


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_an_arm_with_one_score_for_all_has_no_area_to_compare(scans_per_patient):
    one = make_predictions(20, arms=["a"], scans_per_patient=scans_per_patient)
    both = pd.concat([one, one.assign(arm="b", y_score=0.5)])
    table = paired_tests(both, {"a": 0.5, "b": 0.5}, reference="a", n_boot=100)
    row = row_of(table, quantity="AUROC")
    assert np.isnan([row["difference"], row["p"]]).all()
    assert row["note"] == "undefined: every scan has the same score (arm b)"
    assert table[table["quantity"] != "AUROC"]["p"].notna().all()


def test_patients_with_several_scans_are_tested_by_the_patient_bootstrap():
    once = make_predictions(60)
    thrice = pd.concat([once.assign(scan_id=once["scan_id"] + str(copy)) for copy in range(3)])
    single = paired_tests(once, THRESHOLDS, reference="proposed")
    grouped = paired_tests(thrice, THRESHOLDS, reference="proposed", seed=1)
    assert grouped["test"].eq("patient bootstrap").all()
    assert grouped["difference"].tolist() == pytest.approx(single["difference"].tolist())
    delong, bootstrap = single["statistic"][0], grouped["statistic"][0]
    assert bootstrap == pytest.approx(delong, rel=0.2)  # copies of a scan must not count as more patients
    pd.testing.assert_frame_equal(grouped, paired_tests(thrice, THRESHOLDS, reference="proposed", seed=1))


def test_arms_must_have_scored_the_same_scans():
    predictions = make_predictions(20)
    with pytest.raises(ValueError, match=r"must score the same scans.*1 differ, such as s0019"):
        paired_tests(predictions.iloc[:-1], THRESHOLDS, reference="proposed")
    with pytest.raises(ValueError, match="reference arm must be one of"):
        paired_tests(predictions, THRESHOLDS, reference="resnet50")
    with pytest.raises(ValueError, match="AUROC undefined"):
        paired_tests(predictions.assign(y_true=0), THRESHOLDS, reference="proposed")


def test_all_pairs_hold_the_comparisons_with_the_reference_in_a_larger_family():
    predictions = make_predictions(50, arms=ARMS)
    pairs = paired_tests(predictions, THRESHOLDS, reference=None, n_boot=200)
    against = paired_tests(predictions, THRESHOLDS, reference="proposed", n_boot=200)
    assert len(pairs) == 4 * 3 and len(against) == 4 * 2
    shared = pairs.merge(against, on=["arm_a", "arm_b", "quantity"], suffixes=("", "_reference"))
    assert len(shared) == len(against)
    for name in ("difference", "ci_low", "ci_high", "p"):
        assert shared[name].tolist() == pytest.approx(shared[f"{name}_reference"].tolist())
    assert (shared["p_holm"] >= shared["p_holm_reference"] - 1e-12).all()


def test_bootstrap_differences_equal_a_loop_over_resamples():
    predictions = make_predictions(40)
    row = row_of(paired_tests(predictions, THRESHOLDS, reference="proposed", n_boot=4000), quantity="Brier")
    wide = predictions.pivot(index="scan_id", columns="arm", values="y_score")
    y_true = predictions.drop_duplicates("scan_id").set_index("scan_id").loc[wide.index, "y_true"].to_numpy()
    gain = (wide["proposed"].to_numpy() - y_true) ** 2 - (wide["vgg16"].to_numpy() - y_true) ** 2
    # a mean of scans drawn within each label: its standard error has a closed form
    error = np.sqrt(sum(np.var(gain[y_true == label]) * 20 for label in (0, 1))) / 40
    assert row["difference"] == pytest.approx(gain.mean())
    assert row["statistic"] == pytest.approx(gain.mean() / error, rel=0.05)
    f1 = row_of(paired_tests(predictions, THRESHOLDS, reference="proposed", n_boot=200), quantity="F1")
    expected = [sk.f1_score(y_true, wide[arm] >= 0.5) for arm in ("proposed", "vgg16")]
    assert f1["difference"] == pytest.approx(expected[0] - expected[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]))
def test_paired_tests_are_symmetric_and_ignore_row_order(seed, scans_per_patient):
    predictions = make_predictions(24, seed=seed, scans_per_patient=scans_per_patient)
    one = paired_tests(predictions, THRESHOLDS, reference="proposed", n_boot=100)
    shuffled = predictions.sample(frac=1, random_state=seed)
    other = paired_tests(shuffled, THRESHOLDS, reference="vgg16", n_boot=100)
    assert other["difference"].tolist() == pytest.approx((-one["difference"]).tolist())
    assert other["ci_low"].tolist() == pytest.approx((-one["ci_high"]).tolist(), abs=1e-9, nan_ok=True)
    assert other["p"].tolist() == pytest.approx(one["p"].tolist(), nan_ok=True)
