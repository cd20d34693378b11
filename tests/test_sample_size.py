"""Sample size: expected intervals against published values and simulated studies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from bonescan_utils.intervals import auroc, auroc_variance
from bonescan_utils.sample_size import (
    NEEDED_COLUMNS,
    PRECISION_COLUMNS,
    expected_interval,
    precision_table,
    scans_needed,
)


@pytest.mark.parametrize(("n", "error"), [(110, 0.03282048), (20, 0.07789072)])
def test_hanley_and_mcneils_standard_error_as_published_by_auctestr(n, error):
    # manual of the R package auctestr 1.0.0: se_auc(0.75, n, n)
    assert auroc_variance(0.75, n, n) ** 0.5 == pytest.approx(error, abs=5e-9)


def test_wilson_of_newcombes_published_example():
    # Stat Med 1998;17:857-872, table I: 81 of 263
    assert expected_interval("sensitivity", 81 / 263, 263, 10) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert expected_interval("specificity", 15 / 148, 10, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@pytest.mark.parametrize(("n_positive", "n_negative", "shift"), [(100, 100, 1.8), (40, 160, 1.2), (160, 40, 1.2)])
def test_expected_width_of_an_auroc_is_what_simulated_studies_get(n_positive, n_negative, shift):
    rng = np.random.default_rng(1)
    y_true = np.repeat([1, 0], [n_positive, n_negative])
    found = [auroc(y_true, rng.normal(size=len(y_true)) + shift * y_true) for _ in range(40)]
    low, high = expected_interval("AUROC", norm.cdf(shift / 2**0.5), n_positive, n_negative)
    widths = [each.ci_high - each.ci_low for each in found]
    assert high - low == pytest.approx(np.mean(widths), rel=0.1)


def test_precision_table_by_hand():
    table = precision_table([201], prevalence=0.5, auroc=0.92, sensitivity=0.83, specificity=0.9)
    assert list(table.columns) == PRECISION_COLUMNS
    assert table["n_positive"].tolist() == [101] * 3 and table["metric"].tolist() == [
        "AUROC",
        "sensitivity",
        "specificity",
    ]
    assert (table["width"] == table["ci_high"] - table["ci_low"]).all()
    low, high = proportion_confint(90, 100, method="wilson")
    assert table.iloc[2][["ci_low", "ci_high"]].tolist() == pytest.approx([low, high])
    # the study's own test part: an AUROC of 0.92 came with 0.88-0.96
    assert table.iloc[0][["ci_low", "ci_high"]].tolist() == pytest.approx([0.88, 0.96], abs=0.005)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.04, 0.3), st.floats(0.1, 0.9), st.floats(0.55, 0.97), st.floats(0.1, 0.97))
def test_scans_needed_are_enough_and_one_step_fewer_are_not(width, prevalence, area, rate):
    table = scans_needed([width], prevalence=prevalence, auroc=area, sensitivity=rate, specificity=rate)
    assert list(table.columns) == NEEDED_COLUMNS
    for _, row in table.iterrows():
        n, positive = row["n"], row["n_positive"]
        low, high = expected_interval(row["metric"], row["expected"], positive, n - positive)
        assert (2 * (row["expected"] - low) if row["metric"] == "AUROC" else high - low) <= width + 1e-9
        fewer = int(0.8 * n)
        low, high = expected_interval(
            row["metric"], row["expected"], round(fewer * prevalence), fewer - round(fewer * prevalence)
        )
        assert n < 12 or (2 * (row["expected"] - low) if row["metric"] == "AUROC" else high - low) > width


def test_rarer_disease_takes_more_scans_for_sensitivity_and_fewer_for_specificity():
    even, rare = (scans_needed([0.1], prevalence=p).set_index("metric")["n"] for p in (0.5, 0.1))
    assert rare["sensitivity"] == pytest.approx(5 * even["sensitivity"], rel=0.02)
    assert rare["specificity"] < even["specificity"]


def test_out_of_range_is_told():
    few = precision_table([2], prevalence=0.1)
    assert few.set_index("metric").loc["sensitivity", "n_positive"] == 0
    assert few["width"].isna().tolist() == [True, True, False]
    assert few["method"].str.startswith("undefined").tolist() == [True, True, False]
    for call, message in (
        (lambda: precision_table([1]), r"must be at least 2, got \[1\]"),
        (lambda: precision_table([10], prevalence=0), "prevalence must be between 0 and 1"),
        (lambda: precision_table([10], auroc=0.4), "expected AUROC must be at least 0.5"),
        (lambda: scans_needed([0.1], sensitivity=1.0), "expected sensitivity must be"),
        (lambda: scans_needed([1.2]), "width must be between 0 and 1"),
        (lambda: scans_needed([1e-4]), "would take more than 1,000,000 scans"),
        (lambda: expected_interval("F1", 0.5, 5, 5), "metric must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
