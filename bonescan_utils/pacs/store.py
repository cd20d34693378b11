"""Store: sending DICOM files to a node that is named, by C-STORE (PS3.4 annex B).

Plain DICOM: no encryption, no log-in but the AE titles. Send inside the hospital's network only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

SECONDS = 15.0
"""How long a connection, and each answer of the node, is waited for."""


class StoreError(ConnectionError):
    """A node that cannot be reached or refuses; the text says what to do. The files are kept."""


@dataclass(frozen=True)
class Node:
    """A DICOM node.

    Attributes:
        host: Name or address.
        port: 1 to 65535.
        called_ae: The node's AE title.
        ae: Our AE title.
    """

    host: str
    port: int
    called_ae: str = "ANY-SCP"
    ae: str = "BONESCAN"

    def __str__(self) -> str:
        return f"{self.called_ae} at {self.host}:{self.port}"


def parse_node(address: str, *, ae: str, called_ae: str) -> Node:
    """Return the node of an address.

    Args:
        address: `HOST:PORT`, with an IPv6 host in brackets.
        ae: Our AE title, 1 to 16 printable characters without a backslash.
        called_ae: The node's.

    Raises:
        ValueError: One of them is not of its form; the text says which and what was expected.
    """
    found = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(?P<port>\d{1,5})", address)
    if not found or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f"node {address!r}: expected HOST:PORT with a port of 1 to 65535, such as pacs.local:104")
    for title in (ae, called_ae):
        if not re.fullmatch(r"[ -\[\]-~]{1,16}", title) or not title.strip():
            raise ValueError(f"AE title {title!r}: expected 1 to 16 plain characters without a backslash")
    return Node(found["host"].strip("[]"), int(found["port"]), called_ae, ae)


def send_files(files: Sequence[Path], node: Node) -> dict[Path, str]:
    """Send DICOM files over one association.

    Args:
        files: Secondary Captures and Comprehensive SRs.
        node: Where to.

    Returns:
        Why the node did not store a file, by file; '' for one that it stored.

    Raises:
        StoreError: The node does not answer, or does not accept this sender or these kinds of object.
    """
    entity = AE(ae_title=node.ae)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
    for kind in (SecondaryCaptureImageStorage, ComprehensiveSRStorage):
        entity.add_requested_context(kind, ExplicitVRLittleEndian)
    link = entity.associate(node.host, node.port, ae_title=node.called_ae)
    if not link.is_established:
        raise StoreError(f"node {node} {_why_not(link)}")
    try:
        return {path: _stored(link, path) for path in files}
    finally:
        link.release()


def _why_not(link: Association) -> str:
    """Return why there is no association."""
    if link.is_rejected:
        reason = getattr(link.acceptor.primitive, "reason_str", "") or "no reason given"
        return f"refuses the association ({reason}): ask for the AE titles that it expects"
    if link.acceptor.primitive is not None:
        return "takes neither Secondary Capture nor Structured Report"
    return f"does not answer within {SECONDS:g} s: check the address, the port and the firewall"


def _stored(link: Association, path: Path) -> str:
    """Send one file; return '' where the node stored it, else its reason."""
    if not link.is_established:
        return "the node ended the association"
    ds = dcmread(path)
    try:
        status = link.send_c_store(ds)
    except ValueError:  # of this kind of object the node accepted none
        return f"the node does not take {ds.SOPClassUID.name}"
    except RuntimeError:  # it went away between the question and the call
        return "the node ended the association"
    if "Status" not in status:
        return "no answer from the node"
    if code_to_category(status.Status) in ("Success", "Warning"):  # with a warning it is stored all the same
        return ""
    meaning = STORAGE_SERVICE_CLASS_STATUS.get(status.Status, ("", "unknown"))[1]
    return f"status 0x{status.Status:04X} ({meaning})"  # the node's own comment may name the patient
