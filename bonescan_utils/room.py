"""Room: the disk space that a run needs, checked before it begins."""

from __future__ import annotations

from pathlib import Path

from bonescan_utils.files import free_bytes
from bonescan_utils.profiles import StudyConfig, StudyError, study_arm

DISK_RESERVE = 500_000_000
"""Bytes that a run leaves free."""


def check_disk(config: StudyConfig, n_manifest: int, folder: Path) -> None:
    """Check that a run has room.

    Args:
        config: All settings.
        n_manifest: Scans in the manifest.
        folder: The run folder; what it holds already is not needed again.

    Raises:
        StudyError: It has not; the text says how much is free, how much is needed, and where.
    """
    already = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    needed = max(0, needed_bytes(config, n_manifest) - already) + DISK_RESERVE
    free = free_bytes(folder)
    if free < needed:
        raise StudyError(
            f"not enough room on the disk of {folder.parent.name}/{folder.name}: {free / 1e9:.1f} GB free,"
            f" {needed / 1e9:.1f} GB needed; free some, or use fewer scans"
            " (-p n_scans=200) or another disk for the project"
        )


def needed_bytes(config: StudyConfig, n_manifest: int) -> int:
    """Return an upper estimate of the bytes a whole run writes, its scans under data/ included."""
    scans = min(config.n_scans or n_manifest, n_manifest)
    pixels = config.image_height * config.image_width
    total = scans * (pixels + 400_000)  # the store's image, and a phantom scan as DICOM with its mask
    for arm in (study_arm(name, copies=config.copies) for name in {config.arm, *config.arms}):
        images = scans * (1 + (1.0 if config.folds else 0.7) * arm.copies)
        total += 120_000_000  # its model
        # activations at the cut: at most 1,024 channels at 1/16 of the size, 2 bytes each
        total += int(images * pixels * (1 + 8 * bool(arm.via or not arm.frozen)))
    return total
