"""Ingest: a folder as it came from a PACS, or a public data set -> manifest, images under pseudonyms, quarantine.

What leaves a DICOM file is a list of named values, never "everything but": pixels, and of the header what `header`
lists, each put into a number, a closed vocabulary, or a keyed hash. Names of files do not leave either.
"""

from bonescan_utils.ingest.folder import Outcome, ingest_folder
from bonescan_utils.ingest.keys import KeyFileError

__all__ = ["KeyFileError", "Outcome", "ingest_folder"]
