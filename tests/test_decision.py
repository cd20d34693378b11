"""Decision curves: against dcurves (fixtures/dcurves), the closed form, and rules that always hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation import make_predictions

from bonescan_utils.decision import COLUMNS, net_benefit_table

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "dcurves" / "net_benefit.json").read_text())


@pytest.mark.parametrize(("name", "prevalence"), [("of_the_sample", None), ("of_0.1", 0.1)])
def test_net_benefit_equals_dcurves(name, prevalence):
    ids = [f"s{i:03d}" for i in range(len(FIXTURE["y_true"]))]
    columns = {"scan_id": ids, "patient_id": ids, "arm": "arm", "partition": "test"}
    predictions = pd.DataFrame(columns | {"y_true": FIXTURE["y_true"], "y_score": FIXTURE["y_score"]})
    table = net_benefit_table(predictions, seed=0, at=FIXTURE["at"], prevalence=prevalence, n_boot=100)
    assert list(table.columns) == COLUMNS
    expected = FIXTURE[name]
    assert table["estimate"].tolist() == pytest.approx(expected["arm"])
    assert table["treat_all"].tolist() == pytest.approx(expected["all"])
    assert table["treat_none"].tolist() == expected["none"]
    best = np.maximum(expected["all"], expected["none"])
    assert table["gain"].tolist() == pytest.approx((np.array(expected["arm"]) - best).tolist())


def test_net_benefit_by_counting():
    predictions = make_predictions(60)
    table = net_benefit_table(predictions, seed=0, at=[0.2, 0.5], n_boot=100)
    one = predictions[predictions["arm"] == "vgg16"]
    for _, row in table[table["arm"] == "vgg16"].iterrows():
        acted = one["y_score"] >= row["threshold"]
        found, false = (acted & (one["y_true"] == 1)).sum(), (acted & (one["y_true"] == 0)).sum()
        assert row["estimate"] == pytest.approx((found - false * row["threshold"] / (1 - row["threshold"])) / 60)
    assert table["n"].eq(60).all() and table["prevalence"].eq(0.5).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_bounds_of_net_benefit(seed, threshold, prevalence):
    predictions = make_predictions(30, arms=["a"], seed=seed)
    row = net_benefit_table(predictions, seed=0, at=[threshold], prevalence=prevalence, n_boot=100).iloc[0]
    assert row["ci_low"] <= row["estimate"] <= row["ci_high"] <= prevalence + 1e-12
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert row["gain"] <= min(prevalence, (1 - prevalence) * threshold / (1 - threshold)) + 1e-9
    everyone = predictions.assign(y_score=1.0)
    all_called = net_benefit_table(everyone, seed=0, at=[threshold], prevalence=prevalence, n_boot=100).iloc[0]
    assert all_called["estimate"] == pytest.approx(all_called["treat_all"])


def test_intervals_do_not_depend_on_row_order():
    predictions = make_predictions(40)
    shuffled = predictions.groupby("arm", sort=False, group_keys=False).sample(frac=1, random_state=3)
    first = net_benefit_table(predictions, seed=1, at=[0.3, 0.6], n_boot=100)
    pd.testing.assert_frame_equal(first, net_benefit_table(shuffled, seed=1, at=[0.3, 0.6], n_boot=100))


def test_bad_input_is_told():
    predictions = make_predictions(20)
    with pytest.raises(ValueError, match=r"must be between 0 and 1, got \[0.0\]"):
        net_benefit_table(predictions, seed=0, at=[0.0, 0.5])
    with pytest.raises(ValueError, match=r"must be between 0 and 1, got \[1.5\]"):
        net_benefit_table(predictions, seed=0, prevalence=1.5)
    with pytest.raises(ValueError, match="net benefit undefined"):
        net_benefit_table(predictions.assign(y_true=0), seed=0)
