"""Drawings: a run's figures drawn again from its tables, with the numbers of the tables on them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fabricated_run import ARMS, make_run
from test_evaluation import make_predictions

from bonescan_utils import calibration, decision, evaluation
from bonescan_utils.files import CsvError, write_csv
from bonescan_utils.operating_points import roc_band_table
from bonescan_utils.reporting import drawings
from bonescan_utils.reporting.records import RunRecord, read_run
from bonescan_utils.tables import partition_sizes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A made-up run with the tables of a comparison."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run")
    predictions = make_predictions(60, arms=ARMS)
    how = {"seed": 0, "n_boot": 100}
    tables = {
        "roc": evaluation.roc_table(predictions),
        "roc_band": roc_band_table(predictions, points=5, **how),
        "pr": evaluation.pr_table(predictions),
        "confusion": evaluation.confusion_table(predictions, dict.fromkeys(ARMS, 0.5)),
        "calibration": evaluation.calibration_table(predictions),
        "calibration_metrics": calibration.calibration_metrics(predictions, **how),
        "net_benefit": decision.net_benefit_table(predictions, **how),
    }
    for name, table in tables.items():
        write_csv(folder / "tables" / f"{name}.csv", table)
        write_csv(folder / "tables" / f"{name}_proposed.csv", table[table["arm"] == "proposed"])
    return read_run(folder)


def words(name: str, run: RunRecord) -> str:
    """All text on a drawing."""
    figure = getattr(drawings, name)(run)
    parts = [text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]]
    parts += [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    return " ".join([*parts, *(text.get_text() for text in figure.texts)])


@pytest.mark.parametrize("name", ["roc", "pr", "confusion", "calibration", "forest"])
def test_a_drawing_of_the_comparison_names_its_arms(run: RunRecord, name: str) -> None:
    shown = words(name, run).lower()
    assert run.paper_arms() == ARMS and "proposed" in shown and "resnet50" in shown


@pytest.mark.parametrize("name", ["roc_of_arm", "confusion_of_arm", "calibration_of_arm"])
def test_a_drawing_of_one_arm_shows_no_other(run: RunRecord, name: str) -> None:
    assert "resnet" not in words(name, run).lower()


def test_the_roc_curve_shows_the_auroc_of_the_table(run: RunRecord) -> None:
    metrics = run.table("metrics").set_index(["arm", "metric"])["estimate"]
    assert f"{metrics['proposed', 'AUROC']:.2f}" in words("roc", run)


def test_the_confusion_matrix_shows_its_counts(run: RunRecord) -> None:
    mine = run.table("confusion_proposed").iloc[0]
    assert all(str(int(mine[name])) in words("confusion_of_arm", run) for name in ("tp", "fp", "fn", "tn"))


def test_the_decision_curve_has_its_axes(run: RunRecord) -> None:
    assert "net benefit" in words("decision_curve", run).lower()


def test_the_flow_ends_in_the_partitions(run: RunRecord) -> None:
    shown, sizes = words("flow", run), partition_sizes(pd.DataFrame(run.cohort))
    assert all(f"{n:,}" in shown for n in sizes["n"])


def test_a_table_that_the_run_lacks_is_an_error_in_words(run: RunRecord) -> None:
    with pytest.raises(CsvError, match=r"robustness.csv.* no such file"):
        drawings.robustness(run)


def test_the_folder_is_only_read(run: RunRecord) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(run.folder).rglob("*")}
    words("roc", run)
    assert before == {path: path.stat().st_mtime_ns for path in Path(run.folder).rglob("*")}
