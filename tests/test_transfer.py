"""Transfer: features are computed once, arms learn from them, and a saved model is what was fit."""

import dataclasses
import json
from dataclasses import dataclass, replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bonescan_utils import feature_store
from bonescan_utils.arms import ARMS, Arm, ArmError, get_arm, protocol
from bonescan_utils.backbones import BACKBONES, build_base, split_base
from bonescan_utils.descent import Descent, learning_rate
from bonescan_utils.features import FeatureError, features
from bonescan_utils.forward import as_rgb
from bonescan_utils.heads import pool
from bonescan_utils.models import ModelError, assemble, load_model, model_record, predict, save_model
from bonescan_utils.precision import precision_policy
from bonescan_utils.transfer import FitError, fit, trainable_part
from bonescan_utils.weights import WeightsSource, embedded_path

N, SIZE = 48, (64, 48)
PARTITIONS = np.array(["train"] * 32 + ["tuning"] * 8 + ["test"] * 8)
LABELS = np.arange(N) % 2
TUNED = Arm(
    name="tuned", backbone="vgg16", cut="block4_pool", dense_units=16, dropout=0.2, copies=2, epochs=4,
    batch_size=8, learning_rate=3e-4,
)  # fmt: skip
FROZEN = Arm(name="frozen", backbone="vgg16")
TAPPED = Arm(name="tapped", backbone="vgg16", output="block4_conv1", taps=("block2_conv2", "block3_conv3"), copies=1)


@dataclass
class Store:
    """The image store as the room sees it."""

    images: np.ndarray
    copies: np.ndarray | None
    copy_rows: np.ndarray


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """The same numbers on every machine, and no network."""
    monkeypatch.setenv("BONESCAN_PRECISION", "float32")
    monkeypatch.setenv("BONESCAN_OFFLINE", "1")


@pytest.fixture(scope="module")
def source():
    return WeightsSource("vgg16", "imagenet-int8", embedded_path("vgg16"))


@pytest.fixture(scope="module")
def store():
    """Noise images; those with label 1 have bright squares."""
    rng = np.random.default_rng(0)
    images = rng.poisson(40, (N, *SIZE))
    for row in np.flatnonzero(LABELS == 1):
        for _ in range(4):
            y, x = rng.integers(4, 56), rng.integers(4, 40)
            images[row, y : y + 5, x : x + 5] += 60
    images = np.clip(images, 0, 255).astype(np.uint8)
    flipped = np.stack([images[:32, :, ::-1], images[:32, ::-1]], axis=1)
    return Store(images, flipped, np.arange(32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def get_features(store, arm, source, folder):
    return features(store, arm, source=source, out_dir=folder, progress=False)


_fitted = {}


def run(arm, store, source, folder, labels=LABELS, seed=0, again=False):
    """Fits an arm, once for all tests that want the same."""
    key = (arm, seed, source.identity, precision_policy())
    if key in _fitted and labels is LABELS and not again:
        return _fitted[key]
    found = get_features(store, arm, source, folder)
    fitted = fit(arm, found, labels, PARTITIONS, seed=seed, progress=False)
    return _fitted.setdefault(key, fitted) if labels is LABELS and not again else fitted


# ------------------------------------------------------------------------------------------- features
def test_features_are_the_prefix_of_the_base(store, source, folder):
    found = get_features(store, TUNED, source, folder)
    prefix, _ = split_base(build_base("vgg16", input_shape=(*SIZE, 3), weights=source), "block4_pool")
    expected = np.asarray(prefix(as_rgb(store.images[40:44])))
    np.testing.assert_allclose(found.gather(np.arange(40, 44)), expected, rtol=1e-3, atol=0.05)
    mixed = found.gather(np.array([3, 5]), np.array([2, 0]))
    expected = np.asarray(prefix(as_rgb(np.stack([store.copies[3, 1], store.images[5]]))))
    np.testing.assert_allclose(mixed, expected, rtol=1e-3, atol=0.05)


def test_features_are_computed_once_and_again_when_an_image_changes(store, source, tmp_path):
    small = Store(store.images[:6], store.copies[:4], np.arange(4))
    first = get_features(small, TUNED, source, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = get_features(small, TUNED, source, tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert first.seconds > 0 and again.seconds == 0
    fewer = get_features(small, replace(TUNED, copies=1), source, tmp_path)  # shares its files
    assert len(fewer.copies) == 1 and {p.name for p in tmp_path.iterdir()} == set(before)
    changed = small.images.copy()
    changed[0, 0, 0] ^= 1
    get_features(Store(changed, small.copies, small.copy_rows), TUNED, source, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == len(list(tmp_path.glob("*.json"))) == 4


def test_a_row_does_not_depend_on_how_many_scans_there_are(store, source, folder, tmp_path):
    alone = get_features(Store(store.images[:3], None, np.empty(0, int)), FROZEN, source, tmp_path)
    full = get_features(store, FROZEN, source, folder)
    np.testing.assert_array_equal(alone.gather(np.arange(3)), full.gather(np.arange(3)))


def test_features_of_taps_are_the_means_of_each_layer(store, source, folder):
    found = get_features(store, TAPPED, source, folder)
    base = build_base("vgg16", input_shape=(*SIZE, 3), weights=source)
    names = [*TAPPED.taps, TAPPED.output]
    whole = keras.Model(base.input, [base.get_layer(name).output for name in names])
    means = [np.asarray(level).mean((1, 2)) for level in whole(as_rgb(store.images[:5]), training=False)]
    np.testing.assert_allclose(found.gather(np.arange(5)), np.concatenate(means, 1), rtol=1e-3, atol=1e-3)
    assert found.gather(np.arange(3), np.ones(3, int)).shape == (3, 128 + 256 + 512)


def test_pooled_features_by_way_of_a_cached_cut_are_the_same(store, source, folder):
    direct = get_features(store, FROZEN, source, folder)
    shared = get_features(store, replace(FROZEN, via="block4_pool"), source, folder)
    rows = np.arange(N)
    assert direct.gather(rows).shape == (N, 512)
    np.testing.assert_allclose(shared.gather(rows), direct.gather(rows), rtol=5e-3, atol=5e-3)


def test_activations_beyond_float16_are_stored_with_a_scale(tmp_path):
    batches = [np.full((2, 3, 3, 4), 0.5, np.float32), np.full((2, 3, 3, 4), 3e6, np.float32)]
    scale = feature_store.write_array(tmp_path / "x.npy", lambda: iter(batches), (4, 3, 3, 4))
    values = np.load(tmp_path / "x.npy")
    assert values.dtype == np.float16 and np.isfinite(values).all()
    np.testing.assert_allclose(values.astype(float) * scale, np.concatenate(batches), rtol=1e-3)


def test_an_interrupted_computation_leaves_no_file(tmp_path):
    def broken():
        yield np.ones((2, 1, 1, 1), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_store.write_array(tmp_path / "x.npy", broken, (4, 1, 1, 1))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setattr(feature_store, "free_bytes", lambda path: 1000)
    with pytest.raises(OSError, match=r"needs 204,800 bytes, 1,000 are free"):
        feature_store.write_array(tmp_path / "x.npy", lambda: iter([]), (1, 20, 10, 512))


def test_missing_copies_are_named(store, source, folder):
    with pytest.raises(FeatureError, match="draws from 5 copies, the image store has 2"):
        get_features(store, replace(TUNED, copies=5), source, folder)
    found = get_features(store, TUNED, source, folder)
    folds = np.roll(PARTITIONS, 16)
    with pytest.raises(FeatureError, match="16 of 32 training scans have no augmented copies"):
        fit(TUNED, found, LABELS, folds, progress=False)


# ------------------------------------------------------------------------------------------- arms
def test_the_study_has_the_promised_arms():
    others = [b for b in BACKBONES if b != "vgg16"]
    ends = [f"{b}_{kind}" for kind in ("finetuned", "multilevel") for b in BACKBONES]
    assert list(ARMS) == ["proposed", *BACKBONES, *ends, *(f"{b}_local" for b in others)]
    for name in BACKBONES:
        assert get_arm(name).frozen and get_arm(name).backbone == name and protocol(name) == "frozen"
    assert protocol("proposed") == "local" and get_arm("proposed").backbone == "vgg16"


@pytest.mark.parametrize("name", ["finetuned", "multilevel", "local"])
def test_arms_of_one_protocol_differ_in_the_backbone_only(name):
    settings = {f.name for f in dataclasses.fields(Arm)} - {"name", "backbone", "cut", "output", "taps"}
    arms = [arm for arm in ARMS.values() if protocol(arm.name) == name]
    assert [arm.backbone for arm in arms] == list(BACKBONES)
    assert len({tuple(getattr(arm, field) for field in sorted(settings)) for arm in arms}) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "mean"}, "pooling='mean'; expected one of avg, max, avg_max, lse"),
        ({"local_units": 4}, "local_units need a cut"),
        ({"dropout": 1.0}, "dropout=1.0 is not within"),
        ({"cut": None}, "frozen arm"),
        ({"epochs": 0}, "needs epochs >= 1"),
        ({"taps": ("block3_conv3",)}, "taps need a frozen arm"),
        ({"select": "last", "patience": 3}, "patience=3 has no meaning"),
    ],
)
def test_contradictory_arms_are_refused(settings, message):
    with pytest.raises(ArmError, match=message):
        replace(TUNED, **settings)


def test_cosine_schedule_warms_up_and_ends_at_zero():
    arm = replace(TUNED, schedule="cosine", epochs=5)
    shares = [learning_rate(arm, step, steps_per_epoch=10) for step in range(51)]
    assert shares[0] == pytest.approx(0.1) and shares[9] == shares[10] == 1.0
    assert shares[30] == pytest.approx(0.5) and shares[50] == pytest.approx(0.0)
    assert learning_rate(TUNED, 7, steps_per_epoch=10) == 1.0


@pytest.mark.parametrize("pooling", ["avg", "max", "avg_max", "lse"])
def test_poolings_are_what_they_say(pooling):
    x = np.random.default_rng(0).normal(0, 40, (3, 5, 4, 6)).astype(np.float32)
    found = keras.Model(tensor := keras.Input((5, 4, 6)), pool(tensor, pooling))(x)
    exact = x.astype(np.float64)
    lse = np.log(np.exp(5 * (exact - exact.max((1, 2), keepdims=True))).mean((1, 2))) / 5 + exact.max((1, 2))
    average, largest = exact.mean((1, 2)), exact.max((1, 2))
    expected = {"avg": average, "max": largest, "avg_max": np.hstack([average, largest]), "lse": lse}
    np.testing.assert_allclose(found, expected[pooling], rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------- fitting
def test_a_frozen_arm_is_logistic_regression_on_standardised_features(store, source, folder):
    found = get_features(store, FROZEN, source, folder)
    fitted = run(FROZEN, store, source, folder)
    x = found.gather(np.arange(N)).astype(float)
    strength = 1 / fitted.history.set_index("epoch")["l2"][fitted.best_epoch]
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    reference.fit(x[:32], LABELS[:32])
    np.testing.assert_allclose(fitted.predict(found), reference.predict_proba(x)[:, 1], atol=2e-3)
    losses = fitted.history["tuning_loss"]
    assert losses[fitted.best_epoch - 1] == losses.min()
    assert roc_auc_score(LABELS[40:], fitted.predict(found, np.arange(40, N))) > 0.9


def test_a_channel_that_stirs_in_one_training_scan_decides_no_other(store, source, folder):
    found = get_features(store, FROZEN, source, folder)
    values = found.gather(np.arange(N))
    values[:, 7] = 0.0
    values[[3, 45], 7] = 1e-5, 0.3  # of the first 32, which are trained on, one stirs a little; a test scan a lot
    calm = values.copy()
    calm[45, 7] = 0.0
    scores = []
    for x in (values, calm):
        block = feature_store.Block((feature_store.Part(x),))
        with_rare = dataclasses.replace(found, original=block, copies=(), arm=replace(FROZEN, copies=0))
        fitted = fit(with_rare.arm, with_rare, LABELS, PARTITIONS, progress=False)
        scores.append(fitted.predict(with_rare)[45])
    assert abs(scores[0] - scores[1]) < 0.2


def test_a_tuned_arm_learns_and_repeats_with_its_seed(store, source, folder):
    found = get_features(store, TUNED, source, folder)
    first, other = run(TUNED, store, source, folder), run(TUNED, store, source, folder, seed=2)
    again = run(TUNED, store, source, folder, again=True)
    np.testing.assert_array_equal(first.predict(found), again.predict(found))
    assert not np.array_equal(first.predict(found), other.predict(found))
    assert first.history["loss"].iloc[-1] < first.history["loss"].iloc[0]
    assert roc_auc_score(LABELS[40:], first.predict(found, np.arange(40, N))) > 0.8


@pytest.mark.parametrize("arm", [FROZEN, TUNED], ids=["frozen", "tuned"])
def test_labels_of_the_test_partition_are_never_used(store, source, folder, arm):
    found = get_features(store, arm, source, folder)
    labels = LABELS.astype(float)
    labels[PARTITIONS == "test"] = np.nan
    blind, seeing = run(arm, store, source, folder, labels=labels), run(arm, store, source, folder)
    np.testing.assert_array_equal(blind.predict(found), seeing.predict(found))


def test_the_kept_epoch_has_the_best_tuning_auroc_and_its_weights(store, source, folder):
    arm = replace(TUNED, epochs=6, learning_rate=3e-3, patience=2)
    found = get_features(store, arm, source, folder)
    fitted = run(arm, store, source, folder)
    history = fitted.history.set_index("epoch")
    assert fitted.best_epoch == history["tuning_auroc"].idxmax()
    assert len(history) == min(6, fitted.best_epoch + 2)
    tuning = np.arange(32, 40)
    auroc = roc_auc_score(LABELS[tuning], fitted.predict(found, tuning))
    assert auroc == pytest.approx(history["tuning_auroc"][fitted.best_epoch])


def test_weight_averaging_and_last_epoch(store, source, folder):
    arm = replace(TUNED, epochs=3, ema=0.9, select="last", schedule="cosine", weight_decay=0.01, copies=0)
    found = get_features(store, arm, source, folder)
    averaged, own = run(arm, store, source, folder), run(replace(arm, ema=0.0), store, source, folder)
    assert averaged.best_epoch == 3
    np.testing.assert_allclose(averaged.history["loss"], own.history["loss"])  # the steps are the same
    assert not np.allclose(averaged.predict(found), own.predict(found), atol=1e-4)


def test_frozen_layers_and_batch_normalisation_stay_as_they_were(store, folder):
    source = WeightsSource("xception", "random", seed=1)
    small = Store(store.images[28:36].repeat(2, axis=1).repeat(2, axis=2), None, np.empty(0, int))
    arm = Arm(name="x", backbone="xception", cut="before:block14_sepconv1", epochs=1, learning_rate=1e-2)
    before = trainable_part(arm, source, (128, 96, 3))
    found = get_features(small, arm, source, folder)
    after = fit(arm, found, LABELS[28:36], PARTITIONS[28:36], progress=False).model
    for old, new in zip(before.layers, after.layers, strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True))
        trained = isinstance(old, (keras.layers.SeparableConv2D, keras.layers.Dense))
        assert same != trained or not old.weights, old.name


def test_a_partition_with_one_label_is_refused(store, source, folder):
    with pytest.raises(FitError, match=r"'tuning' has 8 scans with labels \[1\]"):
        run(FROZEN, store, source, folder, labels=np.where(PARTITIONS == "tuning", 1, LABELS))
    with pytest.raises(FitError, match="47 labels"):
        run(FROZEN, store, source, folder, labels=LABELS[1:])


def test_a_training_that_diverges_is_said_in_one_line(monkeypatch, store, source, folder):
    monkeypatch.setattr(Descent, "step", lambda self, x, y: float("nan"))
    with pytest.raises(FitError, match=r"tuned: the loss is nan in epoch 1; try a lower learning_rate"):
        run(TUNED, store, source, folder, again=True)


# ------------------------------------------------------------------------------------------- models
@pytest.mark.parametrize(
    "arm",
    [
        FROZEN,
        TAPPED,
        replace(TUNED, epochs=1, pooling="lse"),
        replace(TUNED, epochs=1, output="block5_conv3", pooling="avg_max"),
    ],
    ids=["frozen", "tapped", "lse", "conv"],
)
def test_a_saved_model_scores_images_as_its_features_did(store, source, folder, tmp_path, arm):
    fitted = run(arm, store, source, folder)
    scores = fitted.predict(get_features(store, arm, source, folder))
    model = assemble(fitted)
    assert model.input_shape == (None, *SIZE, 3)
    np.testing.assert_allclose(predict(model, store.images), scores, atol=2e-3)
    path = save_model(model, tmp_path / "a.keras", fitted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.keras"]
    loaded = load_model(path)
    rgb = as_rgb(store.images)
    np.testing.assert_array_equal(predict(loaded, rgb), predict(model, store.images))
    record = model_record(path)
    assert record["weights"]["weights"] == "imagenet-int8" and record["arm"]["name"] == arm.name


def test_a_changed_or_lost_model_file_is_refused(store, source, folder, tmp_path):
    fitted = run(FROZEN, store, source, folder)
    path = save_model(assemble(fitted), tmp_path / "a.keras", fitted)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"sha256 .* damaged"):
        load_model(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"a\.json: not found"):
        load_model(path)
    with pytest.raises(ModelError, match=r"ends in \.keras"):
        save_model(assemble(fitted), tmp_path / "a.h5", fitted)


def test_p20_the_same_seed_gives_the_same_predictions_and_figure_byte_for_byte(store, source, folder, tmp_path):
    from bonescan_utils.evaluation import metrics_table, roc_table
    from bonescan_utils.figures import plot_roc, save_figure
    from bonescan_utils.files import write_csv

    written = []
    for name in ("first", "second"):
        scores = run(FROZEN, store, source, folder, seed=4, again=True).predict(
            get_features(store, FROZEN, source, folder)
        )
        table = pd.DataFrame({"scan_id": [f"s{at}" for at in range(N)], "arm": "proposed", "partition": PARTITIONS})
        table = table.assign(patient_id=table["scan_id"], y_true=LABELS, y_score=scores)
        write_csv(tmp_path / name / "predictions.csv", table)
        summary = metrics_table(table, {"proposed": 0.5}, seed=1, n_boot=100)
        save_figure(plot_roc(roc_table(table), summary, weights={"proposed": "random"}), tmp_path / name / "roc")
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert len(written[0]) == 3 and written[0] == written[1]


def test_images_of_another_size_are_refused(store, source, folder):
    model = assemble(run(FROZEN, store, source, folder))
    with pytest.raises(ValueError, match=r"\(48, 64\).*takes \(64, 48\)"):
        predict(model, np.zeros((1, 48, 64)))
    assert predict(model, np.zeros((0, 64, 48))).shape == (0,)


# ------------------------------------------------------------------------------------------- precision
def test_precision_follows_the_hardware_and_the_variable(monkeypatch):
    from bonescan_utils import precision as room

    monkeypatch.delenv("BONESCAN_PRECISION")
    for capability, flags, expected in [
        ((9, 0), set(), "mixed_bfloat16"), ((7, 5), {"avx512_bf16"}, "mixed_float16"),
        ((6, 1), set(), "float32"), (None, {"avx512_bf16"}, "mixed_bfloat16"), (None, {"avx2"}, "float32"),
    ]:  # fmt: skip
        monkeypatch.setattr(room, "_gpu_capability", lambda value=capability: value)
        monkeypatch.setattr(room, "_cpu_flags", lambda value=flags: value)
        assert precision_policy() == expected
    monkeypatch.setenv("BONESCAN_PRECISION", "bf16")
    with pytest.raises(ValueError, match="'bf16'; expected one of float32"):
        precision_policy()


def test_bfloat16_features_and_training_stay_close_to_float32(monkeypatch, store, source, folder):
    exact = run(TUNED, store, source, folder)
    wide = get_features(store, TUNED, source, folder)
    monkeypatch.setenv("BONESCAN_PRECISION", "mixed_bfloat16")
    short = get_features(store, TUNED, source, folder)
    rows = np.arange(N)
    assert np.corrcoef(wide.gather(rows).ravel(), short.gather(rows).ravel())[0, 1] > 0.999
    fitted = run(TUNED, store, source, folder)
    assert fitted.model.get_layer("score").compute_dtype == "float32"
    assert fitted.history["loss"][0] == pytest.approx(exact.history["loss"][0], abs=0.1)
    assert np.corrcoef(fitted.predict(short), exact.predict(wide))[0, 1] > 0.98
    np.testing.assert_allclose(predict(assemble(fitted), store.images), fitted.predict(short), atol=0.05)


def test_a_model_record_names_no_folder(store, source, folder, tmp_path):
    fitted = run(FROZEN, store, source, folder)
    path = save_model(assemble(fitted), tmp_path / "a.keras", fitted)
    assert str(source.path.parent) not in json.dumps(model_record(path))
