"""Doctor: what this machine has and lacks for the study, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bonescan_utils import __version__, provenance
from bonescan_utils.files import free_bytes
from bonescan_utils.screen import quiet_stderr

LEAST_DISK, LEAST_MEMORY = 4e9, 6e9  # bytes; a default study writes about 3 GB and needs about 4 GB of memory


@dataclass(frozen=True)
class Finding:
    """One line of the examination: mark is `ok`, `note` (works, with less) or `FAIL`."""

    mark: str
    what: str
    found: str


def examine(*, weights_dir: str = "", out: Path = Path("reports")) -> Iterator[Finding]:
    """Examine this machine, one finding after another; a broken part is told and does not stop the others.

    Args:
        weights_dir: A folder with the official weights files.
        out: The folder that runs are written to.
    """
    yield Finding("ok", "bonescan", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _memory()
    yield _disk(out)
    yield _write_access(out)
    parts: tuple[Callable[[], Iterator[Finding]], ...] = (
        _tensorflow,
        _devices,
        lambda: _weights(weights_dir),
        _decoders,
    )
    for part in parts:
        try:
            yield from part()
        except Exception as error:
            yield Finding("FAIL", getattr(part, "__name__", "check").strip("_"), f"{type(error).__name__}: {error}")
    yield Finding("ok", "packages", ", ".join(f"{k} {v}" for k, v in provenance.versions().items() if v))


def _memory() -> Finding:
    found = provenance.memory_bytes()
    hardware = provenance.hardware()
    text = f"{found / 1e9:.0f} GB, {hardware['cores']} cores, {hardware['processor']}"
    return Finding("ok" if found >= LEAST_MEMORY or not found else "note", "memory", text)


def _disk(out: Path) -> Finding:
    free = free_bytes(out)
    return Finding("ok" if free >= LEAST_DISK else "note", "disk", f"{free / 1e9:.0f} GB free for {out}")


def _write_access(out: Path) -> Finding:
    from bonescan_utils.runner import shown

    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("ok", "write access", shown(folder))
    except OSError as error:
        return Finding("FAIL", "write access", f"{shown(folder)}: {error.strerror}; choose another folder")


def _tensorflow() -> Iterator[Finding]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()  # where there is no GPU, looking for one is logged at length

    from bonescan_utils.precision import precision_policy

    text = f"{tf.__version__}, Keras {keras.__version__}, precision {precision_policy()}"
    flags = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    yield Finding("ok", "TensorFlow", text + (f", TF_ENABLE_ONEDNN_OPTS={flags}" if flags else ""))


def _devices() -> Iterator[Finding]:
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        yield Finding("ok", "GPU", f"{details.get('device_name', device.name)}, {details.get('compute_capability')}")
        return
    yield Finding("note", "GPU", f"none used: {_why_no_gpu(tf.test.is_built_with_cuda())}. The study runs on CPU")


def _why_no_gpu(built_with_cuda: bool) -> str:
    """Return the most likely reason why TensorFlow lists no GPU."""
    if platform.system() != "Linux":
        return f"TensorFlow has no GPU support on {platform.system()} (on Windows, use WSL2)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it"
    if not shutil.which("nvidia-smi") and not Path("/proc/driver/nvidia/version").exists():
        return "no NVIDIA driver on this machine"
    if not built_with_cuda:
        return "this TensorFlow was built without CUDA"
    if importlib.util.find_spec("nvidia") is None:
        return "driver found, CUDA libraries not: .venv/bin/python -m pip install -e '.[gpu]'"
    return "driver and CUDA libraries are there, TensorFlow cannot use them: is the driver too old?"


def _weights(folder: str) -> Iterator[Finding]:
    from bonescan_utils.backbones import BACKBONES
    from bonescan_utils.weights import OFFLINE_VARIABLE, WeightsError, resolve_weights

    before = os.environ.get(OFFLINE_VARIABLE)
    os.environ[OFFLINE_VARIABLE] = "1"  # an examination looks, and downloads nothing
    try:
        for name in BACKBONES:
            try:
                source = resolve_weights(name, weights="auto", weights_dir=folder or None)
            except WeightsError as error:
                yield Finding("FAIL", f"weights {name}", str(error))
                continue
            md5 = f", md5 {source.md5}" if source.md5 else ""
            yield Finding("ok" if source.pretrained else "note", f"weights {name}", f"{source.kind}{md5}")
    finally:
        if before is None:
            os.environ.pop(OFFLINE_VARIABLE, None)
        else:
            os.environ[OFFLINE_VARIABLE] = before


def _decoders() -> Iterator[Finding]:
    from bonescan_utils.dicom_pixels import decoders

    for name, (available, package) in decoders().items():
        yield Finding(
            "ok" if available else "FAIL", "DICOM decoder", f"{name}: {'' if available else 'pip install '}{package}"
        )
