"""The sanity checks of a run: nothing is checked, and nothing fails, where there is no phantom to change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from spot_model import save_spot_model

from bonescan_utils import burden, figures, label_randomisation, phantom, sanity_run
from bonescan_utils.explanation import explain
from bonescan_utils.files import write_json
from bonescan_utils.label_randomisation import SHUFFLED, shuffled_scores
from bonescan_utils.model_record import ModelError, model_record
from bonescan_utils.sanity_run import check_sanity

OPTIONS = {"arm": "a", "threshold": 0.5, "layout": "side_by_side", "method": "gradcam", "seed": 0}


@pytest.mark.parametrize(("synthetic", "n"), [(False, 20), (True, 0)])
def test_without_phantoms_all_tables_are_empty(synthetic: bool, n: int) -> None:
    run = SimpleNamespace(synthetic=synthetic)
    found = check_sanity(run, Path("absent.keras"), pd.DataFrame(), [], n=n, **OPTIONS)  # type: ignore[arg-type]
    tables = (found.verdicts, found.changed, found.randomised, found.deleted)
    assert all(table.empty and len(table.columns) > 3 for table in tables), "a file needs a header"
    assert figures.plot_counterfactuals(found.changed, threshold=0.5) is None
    assert figures.plot_randomisation(found.randomised) is None and figures.plot_deletion(found.deleted) is None


def test_without_truth_there_is_no_true_burden() -> None:
    true = burden.true_burden([], {}, None)
    assert true.empty and list(true.columns) == ["scan_id", *burden.TRUTHS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_spot_model(tmp_path_factory.mktemp("model") / "spot.keras")


@pytest.fixture(scope="module")
def phantoms() -> list[phantom.PhantomScan]:
    return [phantom.make_scan(5, index) for index in range(8, 12)]


@pytest.fixture
def run(phantoms: list[phantom.PhantomScan]) -> SimpleNamespace:
    """What the checks ask of a run: its cohort of phantoms, and their truth."""
    ids = [made.scan.scan_id for made in phantoms]
    cohort = pd.DataFrame({"scan_id": ids, "patient_id": ids, "phantom_seed": "5"})
    cohort = cohort.assign(
        phantom_index=[str(index) for index in range(8, 12)], metastasis=[m.patient.metastasis for m in phantoms]
    )
    masks = {made.scan.scan_id: made.masks for made in phantoms}
    return SimpleNamespace(
        synthetic=True, cohort=cohort.assign(partition="test"), truth=lambda ids: {i: masks[i] for i in ids}
    )


def test_every_check_ends_in_a_verdict(
    run: SimpleNamespace, model: Path, phantoms: list[phantom.PhantomScan], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = run.cohort["scan_id"]
    scores = pd.DataFrame({"scan_id": ids, "arm": "a", "partition": "test", "y_true": run.cohort["metastasis"]})
    scores["y_score"] = 0.1 + 0.8 * scores["y_true"]  # right about all
    assert set(scores["y_true"]) == {0, 1}
    explained = explain(model, [made.scan for made in phantoms], layout="side_by_side", method="gradcam")
    asked: list[str] = []

    def shuffled(run, model, scans, **options):  # type: ignore[no-untyped-def]
        asked.extend(scan.scan_id for scan in scans)
        rows = [(depth, layers, each, 0.5, 1.0 - layers / 3, 1 - layers // 3)
                for depth, layers in (("trained", 0), (SHUFFLED, 3)) for each in asked]  # fmt: skip
        return pd.DataFrame(rows, columns=["depth", "layers", "scan_id", "y_score", "correlation", "peak_inside"])

    monkeypatch.setattr(sanity_run, "shuffled_scores", shuffled)
    found = check_sanity(run, model, scores, explained, n=2, shuffled_labels=True, **OPTIONS)  # type: ignore[arg-type]
    positive = scores.loc[scores["y_true"] == 1, "scan_id"]
    assert asked and set(asked) <= set(positive), "lesions are needed to take some out"
    assert found.verdicts["verdict"].isin(["passes", "fails", "too few to say"]).all()
    checks = set(found.verdicts["check"])
    assert len(checks) == len(found.verdicts) > 8
    assert set(found.changed["change"]) == {"removed", "inserted"}
    assert not found.randomised.empty and not found.deleted.empty


def test_a_model_of_shuffled_labels_is_compared_with_the_trained_one(
    run: SimpleNamespace,
    model: Path,
    phantoms: list[phantom.PhantomScan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = model_record(model) | {"weights": {"weights": "random", "backbone": "vgg16"}, "seed": 4}
    record["arm"] = {"name": "a", "backbone": "vgg16", "taps": []}
    write_json(model.with_suffix(".json"), record)
    run.need = lambda name: tmp_path
    used = {}
    monkeypatch.setattr(label_randomisation, "open_store", lambda folder: "store")
    monkeypatch.setattr(label_randomisation, "features", lambda store, arm, source, out_dir: used.update(source=source))
    monkeypatch.setattr(label_randomisation, "shuffled_label_model", lambda *args, **options: model)
    scans = [made.scan for made in phantoms[:2]]
    found = shuffled_scores(run, model, scans, folder=tmp_path, layout="side_by_side", method="gradcam")  # type: ignore[arg-type]
    assert used["source"].kind == "random" and used["source"].seed == 4, "the weights that the model started from"
    assert set(found["depth"]) == {"trained", SHUFFLED} and len(found) == 4
    assert found["correlation"].dropna().tolist() == pytest.approx([1] * found["correlation"].notna().sum())


def test_weights_that_are_gone_are_told() -> None:
    with pytest.raises(ModelError, match=r"started from weights 'imagenet', and here are .*leave out the check"):
        label_randomisation._same_weights({"weights": "imagenet", "backbone": "vgg16"}, 1)
