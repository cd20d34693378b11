"""The plan of a study: sums that can be checked by hand, and costs that are measured once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bonescan_utils import plan
from bonescan_utils.arms import ARMS
from bonescan_utils.plan import Costs, first_arms, measured_costs, plan_table
from bonescan_utils.profiles import StudyError, make_config

ARM_NAMES = ["vgg16_multilevel", "vgg16_finetuned"]
COSTS = Costs(
    prepare=0.01,
    features={"vgg16_multilevel": 0.1, "vgg16_finetuned": 0.05},
    fit={"vgg16_multilevel": 0.002, "vgg16_finetuned": 0.3},
    stored={"vgg16_multilevel": 5_000.0, "vgg16_finetuned": 200_000.0},
    cores=2,
)


def table(n: int = 1000, workers: int = 1, **settings: object):
    config = make_config("study", settings)
    found = plan_table(COSTS, config, ARM_NAMES, n=n, workers=workers)
    return found.set_index(["stage", "what"])


def test_the_sums_are_those_of_paper_and_pencil() -> None:
    found = table(folds=5)  # every scan has copies: 1 for the proposed arm, 3 for the fine-tuned one
    assert found.loc[("prepare", "scans and copies"), "hours_here"] == pytest.approx(1000 * 4 * 0.01 / 2 / 3600)
    assert found.loc[("features", "vgg16_multilevel"), "hours_here"] == pytest.approx(1000 * 2 * 0.1 / 3600)
    assert found.loc[("features", "vgg16_finetuned"), "disk_GB"] == pytest.approx(1000 * 4 * 200_000 / 1e9)
    assert found.loc[("fits", "vgg16_multilevel"), "hours_here"] == pytest.approx(6 * 700 * 2 * 0.002 / 3600)
    assert found.loc[("fits", "vgg16_finetuned"), "hours_here"] == pytest.approx(6 * 700 * 0.3 / 3600)
    parts = found.drop(index="all", level=0)
    assert found.loc["all", "hours_here"].item() == pytest.approx(parts["hours_here"].sum())


def test_without_folds_only_training_scans_have_copies() -> None:
    assert table().loc[("features", "vgg16_multilevel"), "units"] == pytest.approx(1700)
    assert table().loc[("fits", "vgg16_multilevel"), "units"] == 1


def test_workers_share_the_work_but_no_fit_is_divided() -> None:
    found = table(folds=5, workers=100)
    fit = found.loc[("fits", "vgg16_finetuned")]
    assert fit["hours_shared"] == pytest.approx(fit["hours_here"] / 6)
    features = found.loc[("features", "vgg16_finetuned")]
    assert features["hours_shared"] == pytest.approx(features["hours_here"] / 100)


def test_ten_times_the_scans_take_ten_times_the_hours() -> None:
    one, ten = table(1000)["hours_here"], table(10_000)["hours_here"]
    assert (ten.to_numpy() / one.to_numpy()) == pytest.approx(10)


def test_arms_by_number_and_by_name() -> None:
    assert first_arms("2") == list(ARMS)[:2] and first_arms("vgg16, xception") == ["vgg16", "xception"]
    with pytest.raises(StudyError, match=r"--arms 99: expected 1 to \d+"):
        first_arms("99")


def test_costs_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("study", {"image_height": 64, "image_width": 64, "epochs": 1})
    kept = tmp_path / "calibration.json"
    first = measured_costs(config, ["vgg16", "vgg16_finetuned"], kept=kept, progress=False)
    assert all(value > 0 for group in (first.features, first.fit, first.stored) for value in group.values())
    assert first.stored["vgg16"] == pytest.approx(512 * 4 + 4 * 4 * 512 * 2, rel=0.2), "pooled vector and block4_pool"
    assert 0 < first.prepare < 5

    def again(*_: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(plan, "_arm_costs", again)
    monkeypatch.setattr(plan, "_prepare_cost", again)
    assert measured_costs(config, ["vgg16_finetuned"], kept=kept, progress=False).fit.keys() == {"vgg16_finetuned"}
    other = make_config("study", {"image_height": 96, "image_width": 64})
    with pytest.raises(AssertionError, match="measured twice"):
        measured_costs(other, ["vgg16"], kept=kept, progress=False)
    assert json.loads(kept.read_text())
