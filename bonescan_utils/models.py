"""Models: a trained arm as one file that takes an image and gives a score.

The model is one flat graph with its own preprocessing: a 0-255 image (h, w, 3) in, the score 0-1 out. Beside
``<name>.keras`` lies ``<name>.json`` with the file's sha256, which is checked before anything is loaded, and
with what the model is: arm, backbone, weights it started from, input shape.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import BackboneError, build_base, cut_tensor, get_backbone
from bonescan_utils.files import sha256_file, write_atomic, write_json
from bonescan_utils.forward import as_rgb, compile_forward, run_in_batches
from bonescan_utils.heads import attach_head, head_of, pool_levels
from bonescan_utils.model_record import ModelError, check_archive, model_record
from bonescan_utils.precision import dtype_policy
from bonescan_utils.transfer import Fitted

__all__ = ["ModelError", "assemble", "check_images", "load_model", "model_record", "predict", "save_model"]


def assemble(fitted: Fitted) -> keras.Model:
    """The whole model of a trained arm: image (n, h, w, 3), 0-255, float32 -> score (n, 1), 0-1.

    It is built in float32, so that it runs alike on any machine; its scores may differ in the third decimal
    from those of features computed in bfloat16.
    """
    arm = fitted.arm
    with dtype_policy("float32"):
        base = build_base(arm.backbone, input_shape=fitted.input_shape, weights=fitted.source, output=arm.output)
        model = _with_head(base, arm, seed=fitted.seed)
    trained = model.get_layer("score") if arm.frozen else keras.Model(cut_tensor(base, str(arm.cut)), model.output)
    trained.set_weights(fitted.model.get_weights())
    return model


def _with_head(base: keras.Model, arm: Arm, *, seed: int) -> keras.Model:
    """The base of an arm and its head as one model: image -> score."""
    if arm.frozen:
        score = attach_head(pool_levels(base, arm), arm, activation_function="sigmoid", seed=seed)
    else:
        score = head_of(base.output, arm, activation_function="sigmoid", seed=seed)
    return keras.Model(base.input, score, name=arm.name)


def save_model(model: keras.Model, path: Path | str, fitted: Fitted) -> Path:
    """Writes ``path`` (``.keras``) and its record ``.json``, each whole or not at all; returns the path.

    Raises:
        ModelError: the name does not end in ``.keras``.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: a model's file name ends in .keras")
    record = path.with_suffix(".json")
    with write_atomic(path) as part:
        model.save(part)
        record.unlink(missing_ok=True)  # never an old record beside a new model
    row = get_backbone(fitted.arm.backbone)
    about = {
        "sha256": sha256_file(path), "arm": asdict(fitted.arm), "backbone": row.name,
        "explained_layers": list(fitted.arm.explained_layers or (row.last_conv,)),
        "input_shape": fitted.input_shape, "weights": fitted.source.to_dict(), "seed": fitted.seed,
        "best_epoch": fitted.best_epoch, "keras": keras.__version__,
    }  # fmt: skip
    write_json(record, about)
    return path


def load_model(path: Path | str) -> keras.Model:
    """Loads a saved model in Keras's safe mode (no code in the file is run), after checking its sha256 and its parts.

    Raises:
        ModelError: see `model_record` and `check_archive`; or Keras cannot read the file.
    """
    path = Path(path)
    model_record(path)
    check_archive(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a file that was made to break Keras may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{path}: Keras {keras.__version__} cannot load it ({reason})") from error


def load_in_precision(path: Path | str, policy: str) -> keras.Model:
    """Loads a saved model to be computed in the precision of this hardware, as the features it was trained on were.

    Args:
        path: a saved model.
        policy: a dtype policy (`precision.precision_policy`); weights, pooling and head stay in float32.

    Raises:
        ModelError: see :func:`load_model`.
    """
    model, about = load_model(path), model_record(path)
    settings: dict[str, Any] = about["arm"]
    arm = Arm(**settings | {"taps": tuple(settings["taps"])})
    height, width, channels = about["input_shape"]
    with dtype_policy(policy):
        base = build_base(arm.backbone, input_shape=(height, width, channels), output=arm.output)
        same = _with_head(base, arm, seed=0)
    same.set_weights(model.get_weights())
    return same


def predict(model: keras.Model, images: np.ndarray, *, batch: int = 16, progress: bool = False) -> np.ndarray:
    """Scores of images.

    Args:
        model: from :func:`assemble` or :func:`load_model`.
        images: grey (n, h, w) or RGB (n, h, w, 3), values 0-255.
        batch: images per forward pass.
        progress: show a progress bar.

    Returns:
        y_score (n,) float64, 0-1.

    Raises:
        BackboneError: the images have another size than the model's input.
    """
    rgb = check_images(model, images)
    if not len(images):
        return np.empty(0)
    outputs = run_in_batches(
        compile_forward(model), lambda at: rgb(images[at]), len(images), batch=batch,
        label="predict" if progress else "",
    )  # fmt: skip
    return np.concatenate(list(outputs))[:, 0].astype(np.float64)


def check_images(model: keras.Model, images: np.ndarray) -> Any:
    """The function that makes model input (float32, 3 channels) of a batch of ``images``.

    Raises:
        BackboneError: the images have another size than the model's input.
    """
    height, width = model.input_shape[1:3]
    if images.shape[1:] not in ((height, width), (height, width, 3)):
        raise BackboneError(f"images of shape {images.shape[1:]}; the model takes ({height}, {width}), 0-255")
    return as_rgb if images.ndim == 3 else lambda x: np.asarray(x, np.float32)
