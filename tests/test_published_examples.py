"""McNemar, Wilson, Holm and kappa against the numbers that statsmodels' own tests state, which R and SAS computed."""

import numpy as np
import pandas as pd
import pytest

from bonescan_utils.evaluation import metrics_table
from bonescan_utils.intervals import wilson
from bonescan_utils.labelling.agreement import cohen_kappa, fleiss_kappa
from bonescan_utils.paired import holm, mcnemar

WILSON = {
    # results_proportion.py: binom.confint of R's package binom; the last test_proportion.py: BinomCI of R's DescTools
    (18, 20): (0.6989663547715128, 0.972133518786232),
    (4, 20): (0.0806576625797981, 0.4160174322518935),
    (4, 200): (0.00780442641634947, 0.05028708690582643),
    (190, 200): (0.910421851861224, 0.972617354399236),
    (1, 30): (0.00590859, 0.16670391),
    (0, 30): (0.0, 0.11351339),
    (30, 30): (0.8864866, 1.0),
    (100, 200): (0.4313609, 0.5686391),
}
# test_multi.py, column `Holm` of multtest's mt.rawp2adjp and p.adjust in R
HOLM = [
    ([0.838541367553, 0.642193923795, 0.680845947633, 0.967833824309, 0.71626938238, 0.177096952723, 5.23656777208e-05,
      0.0202732688798, 0.00028140506198, 0.0149877310796],
     [1, 1, 1, 1, 1, 1, 5.2365677720800005e-04, 1.4191288215860001e-01, 2.5326455578199999e-03,
      1.1990184863680001e-01]),
    ([0.002, 0.004, 0.006, 0.008, 0.01, 0.012], [0.012, 0.02, 0.024, 0.024, 0.024, 0.024]),
    ([0.001, 0.002, 0.003, 0.004, 0.005, 0.05, 0.06, 0.07, 0.08, 0.09],
     [0.01, 0.018, 0.024, 0.028, 0.03, 0.25, 0.25, 0.25, 0.25, 0.25]),
]  # fmt: skip
# test_inter_rater.py: a printout of SAS for this table of two readers, three categories
SAS_TABLE, SAS_KAPPA, SAS_INTERVAL = [[0, 4, 1], [0, 8, 0], [0, 1, 5]], 0.4842, (0.2137, 0.7547)
# test_inter_rater.py: the diagnoses of Fleiss, Psychol Bull 1971;76:378-382: of each patient, six psychiatrists'
DIAGNOSES = (
    "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444 224445 333335"
    " 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
)


@pytest.mark.parametrize("counts", WILSON)
def test_wilson_of_the_counts_in_statsmodels_tests(counts):
    assert wilson(*counts) == pytest.approx(WILSON[counts], abs=5e-8)


def test_mcnemar_of_the_table_in_statsmodels_tests():
    # contingency_table_r_results.csv: R's binom.test of the table 23 15 / 19 31
    row = mcnemar(15, 19, 23 + 15 + 19 + 31)
    assert row["p"] == pytest.approx(0.60759136127308, abs=1e-12)
    assert row["statistic"] == 15 and row["difference"] == pytest.approx(-4 / 88)


@pytest.mark.parametrize(("p", "adjusted"), HOLM)
def test_holm_of_the_p_values_in_statsmodels_tests(p, adjusted):
    assert holm(np.array(p)) == pytest.approx(adjusted, rel=1e-9)


def test_cohens_kappa_of_sas():
    first, second = (np.repeat(part, np.ravel(SAS_TABLE)) for part in np.indices((3, 3)).reshape(2, 9))
    found = cohen_kappa(first, second, np.arange(len(first)), seed=0, n_boot=2000)
    assert found.estimate == pytest.approx(SAS_KAPPA, abs=5e-5)
    assert (found.ci_low, found.ci_high) == pytest.approx(SAS_INTERVAL, abs=0.1)  # 19 scans: bootstrap against Wald


def test_fleiss_kappa_of_his_published_diagnoses():
    ratings = np.array([list(each) for each in DIAGNOSES.split()])
    # kappam.fleiss of R's package irr
    assert fleiss_kappa(ratings, np.arange(30), seed=0, n_boot=100).estimate == pytest.approx(0.4302445, abs=5e-8)


def test_kappa_of_calls_is_that_of_two_readers():
    # 20 agreed yes, 5 only the first, 10 only the second, 15 agreed no: kappa 0.4 in every textbook's arithmetic
    true, called = np.repeat([1, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    ids = [f"s{i:02d}" for i in range(50)]
    columns = {"scan_id": ids, "patient_id": ids, "arm": "a", "partition": "test", "y_true": true}
    table = metrics_table(pd.DataFrame(columns | {"y_score": called * 0.8}), {"a": 0.5}, seed=0, n_boot=100)
    row = table[table["metric"] == "kappa"].iloc[0]
    assert row["estimate"] == pytest.approx(0.4) and row["ci_low"] < 0.4 < row["ci_high"]
