"""Identity: UIDs and times of the objects that are written.

The UIDs follow from the source, the model and what was made of them: a repeated run gives the same objects, and a
node that has them keeps one of each.
"""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

MANUFACTURER, MODEL_NAME = "bonescan (research software)", "bonescan"
SC_SERIES, SR_SERIES = 9001, 9002
"""Series numbers, beyond those of a camera."""


def make_uid(*parts: str) -> UID:
    """Return the UID that belongs to some texts, under pydicom's root; equal texts give equal UIDs."""
    return generate_uid(entropy_srcs=["bonescan result", *(f"{len(part)}:{part}" for part in parts)])


def set_times(ds: Dataset, created: str) -> None:
    """Set every time at which an object was made.

    Args:
        ds: The object, changed in place.
        created: ISO 8601 with a time zone; written as local time, which DICOM takes a time without zone for.
    """
    local = datetime.fromisoformat(created).astimezone()
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S")
    for kind in ("InstanceCreation", "Series", "Content"):
        setattr(ds, f"{kind}Date", date)
        setattr(ds, f"{kind}Time", time)
    if "DateOfSecondaryCapture" in ds:
        ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = date, time
    for item in ds.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = date + time
