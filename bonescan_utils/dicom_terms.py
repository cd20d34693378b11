"""Which values of a DICOM header a message may quote: numbers and defined terms; any other text may hold a name."""

from __future__ import annotations

from typing import Any

TERMS = frozenset(
    """
    NM CT MR US PT PET CR DX MG XA RF SR PR KO OT SC SEG ECG REG DOC RTDOSE RTSTRUCT RTPLAN TOMO DYNAMIC GATED STATIC
    GATED_TOMO RECON_TOMO RECON_GATED_TOMO EMISSION TRANSMISSION MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422
    """.split()
    + ["WHOLE BODY", "WHOLEBODY", "GATED TOMO", "RECON TOMO", "RECON GATED TOMO", "PALETTE COLOR", "AXIAL", "LOCALIZER"]
)
"""Defined terms of PS3.3 that stand in Modality, Image Type and Photometric Interpretation."""


def shown_term(found: Any) -> str:
    """Returns a header's value in words that are safe to print."""
    text = "" if found is None else str(found).strip()
    if text == "":
        return "nothing"
    return text if text.isdecimal() or text.upper() in TERMS else "some other text"
