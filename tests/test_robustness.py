"""Robustness: scores kept per model, condition and scan; the table against scikit-learn and statsmodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_cohort
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from test_figures import assert_nothing_is_cut_off, words

from bonescan_utils import figures, robustness
from bonescan_utils.cohort import ingest
from bonescan_utils.files import read_csv, write_csv
from bonescan_utils.perturbations import PERTURBATIONS, UNPERTURBED, Perturbation
from bonescan_utils.preprocessing import prepare
from bonescan_utils.profiles import StudyError
from bonescan_utils.robustness import robustness_scores, robustness_table
from bonescan_utils.study import Run, open_run

SIZE = (64, 64)
FEW = [Perturbation(UNPERTURBED), Perturbation("counts", 50), Perturbation("posterior missing")]
PARTITIONS = ["train", "test", "test", "test", "test", "test", "test", "tuning"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen VGG16 with random weights for images of 64 x 64 pixels."""
    from bonescan_utils.arms import Arm
    from bonescan_utils.models import assemble, save_model
    from bonescan_utils.transfer import Fitted, _logistic_model
    from bonescan_utils.weights import WeightsSource

    head = _logistic_model(np.linspace(-1, 1, 512), 0.1)
    source = WeightsSource("vgg16", "random", None, "", "random initialisation", 1)
    fitted = Fitted(Arm(name="proposed", backbone="vgg16"), source, (*SIZE, 3), 1, head, pd.DataFrame(), 1)
    return save_model(assemble(fitted), tmp_path_factory.mktemp("model") / "proposed.keras", fitted)


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of eight scans, six of them in partition test, with one arm."""
    monkeypatch.setenv("BONESCAN_PRECISION", "float32")
    small = make_cohort(tmp_path / "data")
    used = ingest(small.df, small.root, n_jobs=1, progress=False).used.assign(partition=PARTITIONS)
    found = open_run(tmp_path / "run", "04_backbone_comparison")
    found.csv(used, "cohort.csv")
    found.note_data(small.manifest, synthetic=False)
    found.note(layout="side_by_side")
    (found.folder / "models").mkdir()
    for suffix in (".keras", ".json"):
        (found.folder / "models" / f"proposed{suffix}").hardlink_to(model.with_suffix(suffix))
    return found


def score(run: Run, **options) -> pd.DataFrame:
    return robustness_scores(run, ["proposed"], seed=1, n_jobs=1, progress=False, **({"conditions": FEW} | options))


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call of the model."""
    seen: list[int] = []
    really = robustness.run_in_batches

    def counted(forward, read, n, *, batch):
        seen.append(n)
        return really(forward, read, n, batch=batch)

    monkeypatch.setattr(robustness, "run_in_batches", counted)
    return seen


# ------------------------------------------------------------------------------------------------- scores
def test_unperturbed_scans_get_the_score_of_the_saved_model(run: Run, model: Path) -> None:
    from bonescan_utils.models import load_model, predict

    scores = score(run)
    assert len(scores) == 3 * 6 and set(scores["partition"]) == {"test"} and (scores["reason"] == "").all()
    plain = scores[scores["perturbation"] == UNPERTURBED]
    images = [prepare(scan, layout="side_by_side", size=SIZE).image for scan in run.scans(plain["scan_id"])]
    np.testing.assert_allclose(plain["y_score"], predict(load_model(model), np.stack(images)), atol=1e-6)
    labels = run.cohort.set_index("scan_id")["metastasis"]
    assert (scores["y_true"].to_numpy() == labels[scores["scan_id"]].to_numpy()).all()
    assert scores["y_score"].nunique() > 12, "perturbed scans have other scores"


def test_only_what_is_new_is_computed(run: Run, forwards: list[int]) -> None:
    first = score(run, n_scans=4)
    assert sum(forwards) == 12 and set(first.groupby("y_true")["scan_id"].nunique()) == {2}
    pd.testing.assert_frame_equal(score(run, n_scans=4), first)
    assert sum(forwards) == 12
    more = score(run, n_scans=4, conditions=[*FEW, Perturbation("flip")])
    assert sum(forwards) == 16
    pd.testing.assert_frame_equal(more[more["perturbation"] != "flip"], first)
    assert score(run)["scan_id"].nunique() == 6 and sum(forwards) == 16 + 2 * 3


def test_a_rerun_after_an_interruption_gives_the_same(run: Run, forwards: list[int]) -> None:
    whole, path = score(run), run.path("robustness/proposed.csv")
    write_csv(path, read_csv(path, numbers=("y_score",)).head(7))
    pd.testing.assert_frame_equal(score(run), whole)
    assert forwards == [18, 11]


def test_another_seed_or_scan_file_is_scored_anew(run: Run, forwards: list[int]) -> None:
    score(run)
    robustness_scores(run, ["proposed"], seed=2, conditions=FEW, n_jobs=1, progress=False)
    assert forwards == [18, 18]
    changed = run.data_root / str(run.cohort["anterior"].iloc[2])
    changed.touch()
    robustness_scores(run, ["proposed"], seed=2, conditions=FEW, n_jobs=1, progress=False)
    assert forwards == [18, 18, 3]


def test_scans_that_cannot_be_perturbed_are_named_not_lost(run: Run) -> None:
    rows = run.cohort
    rows.loc[1:2, "posterior"] = ""
    run.csv(rows, "cohort.csv")
    scores = score(run)
    lost = scores[scores["y_score"].isna()]
    assert set(lost["perturbation"]) == {"posterior missing"} and len(lost) == 2 and lost["reason"].all()
    row = robustness_table(scores).set_index("perturbation").loc["posterior missing"]
    assert (
        row["n"] == 4 and row["note"] == "2 of 6 scans left out: the scan has no posterior view that could be missing"
    )
    pd.testing.assert_frame_equal(score(run), scores)


def test_without_test_scans_there_is_nothing_to_perturb(run: Run) -> None:
    run.csv(run.cohort.assign(partition="train"), "cohort.csv")
    with pytest.raises(StudyError, match="no scan of partition test"):
        score(run)


def test_a_model_in_another_precision_gives_the_same_scores_but_for_rounding(model: Path) -> None:
    from bonescan_utils.models import load_in_precision, load_model, predict

    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE)).astype(np.uint8)
    expected = predict(load_model(model), images)
    np.testing.assert_allclose(predict(load_in_precision(model, "float32"), images), expected, atol=1e-6)
    rounded = predict(load_in_precision(model, "mixed_bfloat16"), images)
    assert 0 < abs(rounded - expected).max() < 0.02


# -------------------------------------------------------------------------------------------------- table
def made_scores(n: int = 40, *, arms: tuple[str, ...] = ("proposed",), per_patient: int = 1, seed: int = 0):
    """Scores under all conditions of the study, noisier from one to the next."""
    rng = np.random.default_rng(seed)
    y_true = np.arange(n) // per_patient % 2
    latent, parts = 1.5 * y_true + rng.normal(size=n), []
    for arm in arms:
        for at, condition in enumerate(PERTURBATIONS):
            noisy = latent + 0.15 * at * rng.normal(size=n)
            columns = {
                "arm": arm, "scan_id": [f"s{i:03d}" for i in range(n)],
                "patient_id": [f"p{i // per_patient}" for i in range(n)], "partition": "test", "y_true": y_true,
                "perturbation": condition.name, "level": np.nan if condition.level is None else condition.level,
                "y_score": 1 / (1 + np.exp(-noisy)), "reason": "",
            }  # fmt: skip
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def test_aurocs_are_those_of_scikit_learn_and_p_values_are_adjusted_as_one_family() -> None:
    scores = made_scores()
    table = robustness_table(scores)
    assert table["perturbation"].tolist() == [c.name for c in PERTURBATIONS]
    areas = [
        roc_auc_score(part["y_true"], part["y_score"])
        for _, part in scores.groupby(["perturbation", "level"], sort=False, dropna=False)
    ]
    np.testing.assert_allclose(table["estimate"], areas)
    np.testing.assert_allclose(table["difference"][1:], np.array(areas[1:]) - areas[0], atol=1e-12)
    assert table["difference"][:1].isna().all() and (table["n"] == 40).all() and (table["n_positive"] == 20).all()
    np.testing.assert_allclose(table["p_holm"][1:], multipletests(table["p"][1:], method="holm")[1])
    inside = table[1:]
    assert (inside["difference_low"] <= inside["difference"]).all() and set(table["method"]) == {"DeLong"}
    assert (inside["difference"] <= inside["difference_high"]).all() and (table["note"] == "").all()


def test_the_difference_is_of_the_same_scans() -> None:
    scores = made_scores()
    gone = (
        (scores["perturbation"] == "blur") & (scores["level"] == 5) & scores["scan_id"].isin(["s001", "s007", "s010"])
    )
    scores.loc[gone, ["y_score", "reason"]] = np.nan, "the pixel size is unknown"
    row = robustness_table(scores).query("perturbation == 'blur' and level == 5").iloc[0]
    kept = scores[~scores["scan_id"].isin(["s001", "s007", "s010"])]
    areas = [
        roc_auc_score(part["y_true"], part["y_score"])
        for part in (kept.query("perturbation == 'blur' and level == 5"), kept.query("perturbation == 'unperturbed'"))
    ]
    assert row["n"] == 37 and row["n_positive"] == 18 and row["difference"] == pytest.approx(areas[0] - areas[1])
    assert row["note"] == "3 of 40 scans left out: the pixel size is unknown"


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_that_do_not_change_or_keep_their_order_differ_by_nothing(seed: int) -> None:
    scores = made_scores(24, seed=seed)
    plain = scores.loc[scores["perturbation"] == UNPERTURBED, "y_score"].to_numpy()
    scores["y_score"] = np.tile(plain, len(PERTURBATIONS))
    scores.loc[scores["perturbation"] == "flip", "y_score"] **= 3
    table = robustness_table(scores.sample(frac=1, random_state=seed))
    changed = table[table["perturbation"] != UNPERTURBED]
    assert (changed["difference"] == 0).all() and (changed["p"] == 1).all() and (changed["p_holm"] == 1).all()


def test_one_label_gives_a_reason_and_no_number() -> None:
    scores = made_scores()
    table = robustness_table(scores[scores["y_true"] == 1])
    assert (
        (table["n"] == 20).all() and table["estimate"].isna().all() and table["note"].str.contains("both labels").all()
    )
    nothing = scores.assign(y_score=np.where(scores["perturbation"] == "flip", np.nan, scores["y_score"]))
    row = robustness_table(nothing.assign(reason="no body found")).set_index("perturbation").loc["flip"]
    assert row["n"] == 0 and row["note"].startswith("40 of 40 scans left out: no body found; AUROC undefined")


def test_several_scans_a_patient_are_resampled_by_patient() -> None:
    table = robustness_table(made_scores(per_patient=2), n_boot=100)
    assert set(table["method"]) == {"patient bootstrap"} and table["p"][1:].notna().all()


def test_arms_are_families_of_their_own() -> None:
    scores = made_scores(arms=("proposed", "vgg16"))
    table = robustness_table(scores)
    alone = robustness_table(scores[scores["arm"] == "vgg16"])
    pd.testing.assert_frame_equal(table[table["arm"] == "vgg16"].reset_index(drop=True), alone)


# ------------------------------------------------------------------------------------------------- figure
def test_the_figure_is_whole_and_says_what_it_shows() -> None:
    scores = made_scores(arms=("proposed", "vgg16"))
    scores.loc[(scores["arm"] == "vgg16") & (scores["perturbation"] == "flip"), "y_score"] = np.nan
    table = robustness_table(scores.assign(reason="x"))
    figure = figures.plot_robustness(table, weights={"proposed": "imagenet", "vgg16": "random"}, note="A note.")
    assert figure is not None
    assert_nothing_is_cut_off(figure)
    said = words(figure)
    for text in ("Counts kept (%)", "Bladder masked", "Only text corners", "undefined", "random init", "40 test scans"):
        assert text in said, text
    curve = figure.axes[0].lines[0]
    mine = table[(table["arm"] == "proposed")].set_index(["perturbation", "level"])["estimate"]
    assert dict(zip(*curve.get_data(), strict=True))[100] == mine.iloc[0]
    assert dict(zip(*curve.get_data(), strict=True))[25] == mine["counts", 25]


def test_without_scans_there_is_no_table_and_no_figure(run: Run) -> None:
    scores = score(run, n_scans=0)
    table = robustness_table(scores)
    assert table.empty and list(table.columns) == robustness.TABLE
    assert figures.plot_robustness(table, weights={}) is None
