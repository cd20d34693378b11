"""Thresholds: each rule by hand and against every cut."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from test_evaluation import labels_and_scores, make_predictions

from bonescan_utils.thresholds import choose_threshold, choose_thresholds


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
    assert choose_threshold(y_true, y_score, rule="specificity", target=0.6) == pytest.approx(0.35)
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


def test_cost_rule_weighs_misses_by_cost_and_prevalence():
    y_true, y_score = [0, 1, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert choose_threshold(y_true, y_score, rule="cost", cost_ratio=5) == pytest.approx(0.15)  # no miss
    assert choose_threshold(y_true, y_score, rule="cost") == choose_threshold(y_true, y_score)  # Youden at 50 %
    rare = choose_threshold(y_true[:-2] + [1, 0], y_score, rule="cost", prevalence=0.01)
    assert rare > 0.6  # calling none costs least where metastasis is rare and the top score is a false alarm
    for wrong in ({"cost_ratio": 0}, {"prevalence": 1.0}):
        with pytest.raises(ValueError, match="must be"):
            choose_threshold(y_true, y_score, rule="cost", **wrong)


@settings(max_examples=40, deadline=None)
@given(labels_and_scores, st.floats(0.1, 10), st.floats(0.05, 0.95))
def test_no_cut_costs_less_than_the_cost_rule(pairs, ratio, prevalence):
    y_true = np.array([label for label, _ in pairs], dtype=int)
    y_score = np.array([score for _, score in pairs]) / 10

    def cost(threshold):
        called = y_score >= threshold
        misses, alarms = np.mean(~called[y_true == 1]), np.mean(called[y_true == 0])
        return ratio * prevalence * misses + (1 - prevalence) * alarms

    chosen = choose_threshold(y_true, y_score, rule="cost", cost_ratio=ratio, prevalence=prevalence)
    assert all(cost(chosen) <= cost(cut) + 1e-9 for cut in np.linspace(-0.05, 0.95, 21))


@settings(max_examples=40, deadline=None)
@given(labels_and_scores, st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_specificity_rule_keeps_its_promise(pairs, target):
    y_true = np.array([label for label, _ in pairs], dtype=int)
    y_score = np.array([score for _, score in pairs]) / 10
    called = y_score >= choose_threshold(y_true, y_score, rule="specificity", target=target)
    assert np.mean(~called[y_true == 0]) >= target
