"""PACS: results of a scan as DICOM objects that reference their source, and sending them to a node.

`objects` writes them: a Secondary Capture per view (`secondary_capture`, drawn by `sheet`) and a Structured Report
(`structured_report`), with the patient and study of the `source` and UIDs and times from `identity`; `store` sends.
These modules need the extra `pacs` (highdicom, pynetdicom); this one does not.
"""

from __future__ import annotations

from importlib.util import find_spec

from bonescan_utils.profiles import StudyError

RESEARCH_NOTICE = "FOR RESEARCH USE ONLY"
PURPOSE_NOTICE = "Not a medical device, not for diagnosis."


def require_pacs(package: str, *, option: str) -> None:
    """Check that a package of the extra `pacs` is installed, before any work is done.

    Args:
        package: `highdicom` or `pynetdicom`.
        option: The option that needs it, for the message.

    Raises:
        StudyError: It is not; the text names the extra.
    """
    if find_spec(package) is None:
        raise StudyError(f"{option} needs {package}, of the extra 'pacs': .venv/bin/python -m pip install -e '.[pacs]'")
