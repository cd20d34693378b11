"""A model of a run: where it is found, and what its run knows of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_run import SHA, make_record, put_model
from hypothesis import given
from hypothesis import strategies as st

from bonescan_utils.files import write_csv, write_json
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_model import Recalibration, find_model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two models and tuning scores of one; no tables."""
    folder = tmp_path / "quick"
    names = [f"models/{name}.keras" for name in ("proposed", "vgg16")]
    files = {name: put_model(folder / name) for name in names}
    scores = pd.DataFrame({"scan_id": list("abcdef"), "partition": ["tuning"] * 4 + ["test"] * 2})
    scores = scores.assign(y_true=[0, 0, 1, 1, 0, 1], y_score=[0.1, 0.3, 0.5, 0.9, 0.99, 0.01])
    write_csv(folder / "arms" / "proposed" / "predictions.csv", scores)
    write_json(folder / "steps" / "02_preprocessing.json", {"notes": {"layout": "anterior"}})
    write_json(folder / "run.json", make_record(files=files))
    return folder


def add_tables(run: Path, *, method: str = "platt", slope: float = 2.0) -> None:
    """Writes the tables of a finished run."""
    rows = [
        ("proposed", "sensitivity", 0.8, 0.7, 0.9, "Wilson", 40),
        ("proposed", "specificity", 0.6, 0.5, 0.7, "Wilson", 40),
        ("vgg16", "sensitivity", 0.1, 0.0, 0.2, "Wilson", 40),
        ("proposed", "F1", 0.2, 0.1, 0.3, "patient bootstrap", 40),
    ]
    columns = ["arm", "metric", "estimate", "ci_low", "ci_high", "method", "n"]
    write_csv(run / "tables" / "metrics.csv", pd.DataFrame(rows, columns=columns))
    fitted = [("proposed", method, slope, -1.0), ("vgg16", "platt", 9.0, 9.0)]
    table = pd.DataFrame(fitted, columns=["arm", "method", "slope", "intercept"])
    write_csv(run / "tables" / "recalibration.csv", table)


def test_an_arm_and_the_path_of_its_model_are_the_same_model(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = find_model("proposed", run)
    path = run / "models" / "proposed.keras"
    assert find_model(str(path)) == find_model(str(path), run) == by_name
    assert (by_name.arm, by_name.run, by_name.layout, by_name.path) == ("proposed", "quick", "anterior", path)
    assert by_name.threshold == pytest.approx(0.4), "half-way between the tuning scores; the test scores are not seen"
    assert dict(by_name.manifest) == {"name": "m.csv", "sha256": SHA}
    monkeypatch.chdir(run / "models")
    assert find_model("proposed.keras").run == "quick"


def test_what_a_run_lacks_is_null_with_its_reason(run: Path) -> None:
    found = find_model("proposed", run)
    assert found.probability(0.7) is None and found.operating_point == {}
    assert found.missing == {
        "recalibration": "run quick has no tables/recalibration.csv",
        "operating_point": "run quick has no tables/metrics.csv",
    }


def test_the_tables_of_the_arm_are_read(run: Path) -> None:
    add_tables(run)
    found = find_model("proposed", run)
    assert found.missing == {} and found.recalibration == Recalibration(2.0, -1.0)
    assert found.probability(0.7) == pytest.approx(1 / (1 + math.exp(-(2 * math.log(0.7 / 0.3) - 1))))
    sensitivity = {"estimate": 0.8, "ci_low": 0.7, "ci_high": 0.9, "method": "Wilson", "n": 40}
    assert found.operating_point["sensitivity"] == sensitivity
    assert set(found.operating_point) == {"sensitivity", "specificity"}


@pytest.mark.parametrize(("method", "slope"), [("isotonic", 2.0), ("platt", math.nan)])
def test_another_or_a_failed_recalibration_is_not_taken(run: Path, method: str, slope: float) -> None:
    add_tables(run, method=method, slope=slope)
    found = find_model("proposed", run)
    assert found.recalibration is None and "no Platt recalibration of arm proposed" in found.missing["recalibration"]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 20), st.floats(-20, 20))
def test_a_probability_is_one_and_keeps_the_order(low: float, high: float, slope: float, intercept: float) -> None:
    low, high = sorted((low, high))
    first, second = (Recalibration(slope, intercept).probability(score) for score in (low, high))
    assert 0 <= first <= second <= 1


@given(st.floats(1e-5, 1 - 1e-5))
def test_a_recalibration_that_changes_nothing(score: float) -> None:
    assert Recalibration(1.0, 0.0).probability(score) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("arm", "with_run", "words"),
    [
        ("proposed", False, "of which run? Name it: --run NAME"),
        ("resnet50", True, "no model of arm 'resnet50'; it has: proposed, vgg16"),
        ("vgg16", True, "arms/vgg16/predictions.csv is not there"),
        ("elsewhere/proposed.keras", False, "expected a model in the folder of its run, RUN/models/proposed.keras"),
        ("other/models/proposed.keras", True, "is a model of run other, not of quick"),
    ],
)
def test_a_model_that_is_not_there(run: Path, arm: str, with_run: bool, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        find_model(arm, run if with_run else None)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_scores_of_zero_and_one_stay_finite() -> None:
    found = [Recalibration(3.0, 1.0).probability(score) for score in (0.0, 1.0)]
    assert np.isfinite(found).all() and found[0] < 1e-6 and found[1] > 1 - 1e-6
