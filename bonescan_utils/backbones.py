"""Backbones: the five convolutional bases of the study as five rows of one table.

A backbone is built flat: one graph from a 0-255 image to the backbone's last activation, with its own
``preprocess_input`` inside, so that a head can be attached to ``base.output`` and Grad-CAM finds every layer.
Adding a backbone is adding a row to :data:`BACKBONES`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import keras

BEFORE = "before:"
"""Prefix of a cut that means "the input of this layer" (for stages that begin with an unnamed addition)."""

_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"


class BackboneError(ValueError):
    """A backbone, cut or input shape that cannot be used; one readable line."""


class LoadsWeights(Protocol):
    """Anything that can put weights into a freshly built base, as ``weights.WeightsSource`` can."""

    def load_into(self, base: Any) -> None:
        """Set the weights of ``base`` in place."""


@dataclass(frozen=True)
class Backbone:
    """One row of the table: all that the study needs to know about one convolutional base.

    Attributes:
        name: the study's name of the backbone, also the arm's.
        title: the name shown in tables and figures.
        module: module of ``keras.applications`` with the builder and its ``preprocess_input``.
        builder: name of the building function in that module.
        native_size: side of the square image (pixels) the ImageNet weights were trained at.
        min_size: shortest side (pixels) the network can take.
        cuts: layers after which the graph can be cut in two, shallow to deep.
        last_stage_cut: the deepest frozen layer when the last stage is fine-tuned.
        last_conv: the layer whose activation Grad-CAM explains.
        channels: number of channels of ``last_conv``.
        output: the layer a head is attached to (the base's own last layer).
        levels: layers whose pooled activations a multi-level arm joins, shallow to deep: strides 4 and 8, where a
            small focus still fills several cells.
        weights_folder: folder of the weights file under Keras's download address.
        weights_file: name of the official no-top ImageNet weights file.
        weights_bytes: size of that file in bytes.
        weights_md5: md5 sum of that file, as Keras lists it.
        params: number of parameters of the base.
    """

    name: str
    title: str
    module: str
    builder: str
    native_size: int
    min_size: int
    cuts: tuple[str, ...]
    last_stage_cut: str
    last_conv: str
    channels: int
    output: str
    levels: tuple[str, ...]
    weights_folder: str
    weights_file: str
    weights_bytes: int
    weights_md5: str
    params: int

    @property
    def weights_url(self) -> str:
        """Address of the official weights file."""
        return f"{_KERAS_URL}{self.weights_folder}/{self.weights_file}"


def _notop(stem: str) -> str:
    return f"{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5"


_ROWS = (
    Backbone(
        name="vgg16",
        title="VGG16",
        module="vgg16",
        builder="VGG16",
        native_size=224,
        min_size=32,
        cuts=("block1_pool", "block2_pool", "block3_pool", "block4_pool"),
        last_stage_cut="block4_pool",
        last_conv="block5_conv3",
        channels=512,
        output="block5_pool",
        levels=("block3_conv3", "block4_conv1", "block4_conv2", "block4_conv3"),
        weights_folder="vgg16",
        weights_file=_notop("vgg16"),
        weights_bytes=58_889_256,
        weights_md5="6d6bbae143d832006294945121d1f1fc",
        params=14_714_688,
    ),
    Backbone(
        name="resnet50",
        title="ResNet50",
        module="resnet50",
        builder="ResNet50",
        native_size=224,
        min_size=32,
        cuts=("conv2_block3_out", "conv3_block4_out", "conv4_block6_out"),
        last_stage_cut="conv4_block6_out",
        last_conv="conv5_block3_out",
        channels=2048,
        output="conv5_block3_out",
        levels=("conv2_block3_out", "conv3_block2_out", "conv3_block3_out", "conv3_block4_out"),
        weights_folder="resnet",
        weights_file=_notop("resnet50"),
        weights_bytes=94_765_736,
        weights_md5="4d473c1dd8becc155b73f8504c6f6626",
        params=23_587_712,
    ),
    Backbone(
        name="xception",
        title="Xception",
        module="xception",
        builder="Xception",
        native_size=299,
        min_size=71,
        cuts=(f"{BEFORE}block5_sepconv1_act", f"{BEFORE}block13_sepconv1_act", f"{BEFORE}block14_sepconv1"),
        last_stage_cut=f"{BEFORE}block14_sepconv1",
        last_conv="block14_sepconv2_act",
        channels=2048,
        output="block14_sepconv2_act",
        levels=("block3_sepconv2_bn", "block4_sepconv1_act", "block4_sepconv2_act", "block4_sepconv2_bn"),
        weights_folder="xception",
        weights_file=_notop("xception"),
        weights_bytes=83_683_744,
        weights_md5="b0042744bf5b25fce3cb969f33bebb97",
        params=20_861_480,
    ),
    Backbone(
        name="densenet121",
        title="DenseNet121",
        module="densenet",
        builder="DenseNet121",
        native_size=224,
        min_size=32,
        cuts=("pool2_pool", "pool3_pool", "pool4_pool"),
        last_stage_cut="pool4_pool",
        last_conv="relu",
        channels=1024,
        output="relu",
        levels=("conv2_block6_concat", "conv3_block4_concat", "conv3_block8_concat", "conv3_block12_concat"),
        weights_folder="densenet",
        weights_file=_notop("densenet121"),
        weights_bytes=29_084_464,
        weights_md5="30ee3e1110167f948a6b9946edeeb738",
        params=7_037_504,
    ),
    Backbone(
        name="inceptionv3",
        title="InceptionV3",
        module="inception_v3",
        builder="InceptionV3",
        native_size=299,
        min_size=75,
        cuts=("mixed2", "mixed5", "mixed7"),
        last_stage_cut="mixed7",
        last_conv="mixed10",
        channels=2048,
        output="mixed10",
        levels=("mixed0", "mixed1", "mixed2", "mixed3"),  # nothing at stride 4 has a name that stays
        weights_folder="inception_v3",
        weights_file=_notop("inception_v3"),
        weights_bytes=87_910_968,
        weights_md5="bcbd6486424b2319ff4ef7d526e38f63",
        params=21_802_784,
    ),
)

BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}
"""The backbones of the study by name, in the order of the paper's comparison."""


def get_backbone(name: str) -> Backbone:
    """The row of one backbone.

    Raises:
        BackboneError: the table has no such row.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise BackboneError(f"backbone {name!r} is unknown; expected one of {', '.join(BACKBONES)}") from None


def build_base(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    weights: LoadsWeights | None = None,
    output: str | None = None,
) -> keras.Model:
    """Build one convolutional base as a flat graph with its preprocessing inside.

    The layers take the dtype policy that is current (``keras.config``); preprocessing is done in float32.

    Args:
        name: a key of :data:`BACKBONES`.
        input_shape: (height, width, 3) of the input image in pixels; values 0-255, three equal grey channels.
        weights: what puts the weights in, e.g. the result of ``resolve_weights``; None leaves Keras's random
            initialisation (under the current Keras seed).
        output: a layer at which the base ends, instead of the row's own.

    Returns:
        The model image -> activation (rows, columns, channels) of ``output``.

    Raises:
        BackboneError: unknown backbone or layer, or an input the network cannot take.
    """
    import keras

    row = get_backbone(name)
    _check_shape(row, input_shape)
    module = importlib.import_module(f"keras.applications.{row.module}")
    image = keras.Input(input_shape, name="image", dtype="float32")
    base = getattr(module, row.builder)(
        include_top=False, weights=None, input_tensor=module.preprocess_input(image), name=row.name
    )
    if weights is not None:
        weights.load_into(base)
    return truncate(base, output or row.output)


def truncate(base: keras.Model, output: str) -> keras.Model:
    """The part of ``base`` from its input to the activation of layer ``output``; layers are shared."""
    import keras

    # One input, not the list of one input that Keras's builders give: a list makes every call warn.
    return keras.Model(base.inputs[0], cut_tensor(base, output), name=base.name)


def split_base(base: keras.Model, cut: str) -> tuple[keras.Model, keras.Model]:
    """Split a base in two models that share its layers: image -> cut, and cut -> output.

    Args:
        base: a flat model from :func:`build_base`.
        cut: name of the layer after which to cut, or ``before:<layer>`` for the input of a layer.

    Returns:
        (prefix, suffix); ``suffix(prefix(x))`` equals ``base(x)``.

    Raises:
        BackboneError: no such layer, or a path of the graph goes round it.
    """
    import keras

    tensor = cut_tensor(base, cut)
    if tensor is base.output:  # nothing follows
        end = keras.Input(tensor.shape[1:], dtype=tensor.dtype)
        return keras.Model(base.inputs[0], tensor, name=f"{base.name}_prefix"), keras.Model(end, end)
    try:
        suffix = keras.Model(tensor, base.output, name=f"{base.name}_suffix")
    except ValueError as error:
        row = BACKBONES.get(base.name)
        hint = f"; cuts that work: {', '.join(row.cuts)}" if row else ""
        raise BackboneError(f"{base.name} cannot be cut at {cut!r}: a branch goes round it{hint}") from error
    return keras.Model(base.inputs[0], tensor, name=f"{base.name}_prefix"), suffix


def cut_tensor(base: keras.Model, cut: str) -> Any:
    """The symbolic tensor that a cut names (see :func:`split_base`)."""
    layer = cut.removeprefix(BEFORE)
    try:
        found = base.get_layer(layer)
    except ValueError:
        raise BackboneError(f"{base.name} has no layer {layer!r} to cut at") from None
    return found.input if cut.startswith(BEFORE) else found.output


def _check_shape(row: Backbone, shape: tuple[int, int, int]) -> None:
    if len(shape) != 3 or shape[2] != 3:
        raise BackboneError(f"input_shape {shape} is not (height, width, 3)")
    if min(shape[:2]) < row.min_size:
        raise BackboneError(
            f"{row.title} needs an image of at least {row.min_size} x {row.min_size} pixels, "
            f"got {shape[0]} x {shape[1]}"
        )
