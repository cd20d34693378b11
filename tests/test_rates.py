"""Rates: likelihood ratios and Youden's index against published examples and statsmodels."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from bonescan_utils.intervals import wilson
from bonescan_utils.rates import likelihood_ratio, youden


def test_koopmans_published_example():
    # Biometrics 1984;40:513-517: 36 of 40 against 16 of 80
    assert likelihood_ratio(36, 40, 16, 80) == pytest.approx((4.5, 2.94, 7.15), abs=5e-3)


def test_newcombes_published_difference():
    # Stat Med 1998;17:873-890, table II, method 10: 56 of 70 less 48 of 80
    assert youden(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("counts", [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)])
def test_wilson_of_newcombes_published_examples(counts):
    # Stat Med 1998;17:857-872, table I, method 3
    successes, n, low, high = counts
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_ratios_at_the_edges():
    assert likelihood_ratio(0, 20, 5, 20)[:2] == (0.0, 0.0)
    ratio, low, high = likelihood_ratio(10, 20, 0, 20)
    assert math.isinf(ratio) and math.isinf(high) and 1 < low < 20
    assert likelihood_ratio(20, 20, 20, 20)[0] == 1
    assert all(math.isnan(value) for value in likelihood_ratio(0, 5, 0, 5))


counts = st.integers(2, 60).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n)))


@settings(max_examples=60, deadline=None)
@given(counts, counts)
def test_intervals_equal_statsmodels_and_turn_round(first, second):
    ratio, low, high = likelihood_ratio(*first, *second)
    theirs = confint_proportions_2indep(*first, *second, method="score", compare="ratio", correction=False)
    assert (low, high) == pytest.approx(theirs, rel=1e-5)
    assert likelihood_ratio(*second, *first) == pytest.approx((1 / ratio, 1 / high, 1 / low), rel=1e-6)
    difference, below, above = youden(*first, *second)
    assert (below, above) == pytest.approx(confint_proportions_2indep(*first, *second, method="newcomb"), abs=1e-9)
    assert youden(*second, *first) == pytest.approx((-difference, -above, -below))
