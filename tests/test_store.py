"""Sending to a node: a storage provider on the loopback address that takes, refuses, rejects or is not there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread as read
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

pynetdicom = pytest.importorskip("pynetdicom")
from bonescan_utils.pacs import store  # noqa: E402
from bonescan_utils.pacs.store import Node, StoreError, parse_node, send_files  # noqa: E402

KINDS = [SecondaryCaptureImageStorage, ComprehensiveSRStorage]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A picture and a report, as small as they can be."""
    paths = []
    for number, kind in enumerate(KINDS):
        ds, meta = Dataset(), FileMetaDataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = kind, generate_uid(), "Doe^Jane"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, ds.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta = meta
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        paths.append(tmp_path / f"{number}.dcm")
    return paths


@pytest.fixture
def provider() -> Iterator[Callable[..., tuple[Node, list[Any]]]]:
    """Starts a node that answers each C-STORE by a function of the data set; gives it and what it received."""
    servers = []

    def start(answer: Callable[[Dataset], int] = lambda ds: 0, *, kinds: list[str] = KINDS, **entity: Any) -> Any:
        received: list[Any] = []

        def on_store(event: Any) -> int:
            ds = event.dataset
            received.append((event.assoc.requestor.ae_title, event.assoc.requestor.primitive.called_ae_title, ds))
            return answer(ds)

        scp = pynetdicom.AE(ae_title="PACS")
        for name, value in entity.items():
            setattr(scp, name, value)
        for kind in kinds:
            scp.add_supported_context(kind)
        server = scp.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, on_store)])
        servers.append(server)
        return Node("127.0.0.1", server.server_address[1], "PACS", "ME"), received

    yield start
    for server in servers:
        server.shutdown()


def test_objects_arrive_as_they_were_written(files: list[Path], provider: Any) -> None:
    node, received = provider()
    assert send_files(files, node) == dict.fromkeys(files, "")
    assert [(ours, theirs) for ours, theirs, _ in received] == [("ME", "PACS")] * 2
    for (_, _, ds), path in zip(received, files, strict=True):
        sent = read(path)
        assert all(ds[element.tag] == element for element in sent)


def test_a_refusal_is_told_by_file_and_the_others_are_stored(files: list[Path], provider: Any) -> None:
    node, received = provider(lambda ds: 0xA700 if ds.SOPClassUID == KINDS[0] else 0)
    found = send_files(files, node)
    assert "0xA700" in found[files[0]] and "resources" in found[files[0]].lower() and found[files[1]] == ""
    assert len(received) == 2 and all(path.exists() for path in files)


def test_a_warning_is_a_success_and_an_unknown_status_is_not(files: list[Path], provider: Any) -> None:
    node, _ = provider(lambda ds: 0xB000 if ds.SOPClassUID == KINDS[0] else 0xC123)
    found = send_files(files, node)
    assert found[files[0]] == "" and "0xC123" in found[files[1]]


def test_a_comment_of_the_node_is_not_repeated(files: list[Path], provider: Any) -> None:
    def refuse(ds: Dataset) -> Any:
        status = Dataset()
        status.Status, status.ErrorComment = 0xC000, f"{ds.PatientName} is unknown"
        return status

    node, _ = provider(refuse)
    assert all("0xC000" in text and "Doe" not in text for text in send_files(files, node).values())


def test_a_node_that_goes_away_in_between(files: list[Path], provider: Any) -> None:
    node, received = provider()
    associations: list[Any] = []
    plain = pynetdicom.AE.associate

    def associate(self: Any, *args: Any, **options: Any) -> Any:
        associations.append(plain(self, *args, **options))
        return associations[-1]

    def drop(path: Path) -> str:
        associations[0].abort()
        return str(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynetdicom.AE, "associate", associate)
        patch.setattr(store, "dcmread", lambda path: read(drop(path) if path == files[1] else path))
        found = send_files(files, node)
    assert found == {files[0]: "", files[1]: "the node ended the association"} and len(received) == 1


def test_a_kind_that_the_node_does_not_take(files: list[Path], provider: Any) -> None:
    node, _ = provider(kinds=KINDS[:1])
    assert send_files(files, node) == {files[0]: "", files[1]: "the node does not take Comprehensive SR Storage"}


def test_a_node_that_takes_neither_kind(files: list[Path], provider: Any) -> None:
    node, _ = provider(kinds=["1.2.840.10008.1.1"])
    with pytest.raises(StoreError, match="takes neither Secondary Capture nor Structured Report"):
        send_files(files, node)


def test_a_node_that_expects_another_title(files: list[Path], provider: Any) -> None:
    node, _ = provider(require_called_aet=True)
    with pytest.raises(StoreError, match=r"OTHER at 127\.0\.0\.1:\d+ refuses the association .*AE titles"):
        send_files(files, Node(node.host, node.port, "OTHER", "ME"))


def test_a_node_that_is_not_there(files: list[Path]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    with pytest.raises(StoreError, match=r"does not answer.*check the address"):
        send_files(files, Node("127.0.0.1", free))


def test_a_node_that_accepts_and_stays_silent(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StoreError, match=r"does not answer within 0\.3 s"):
            send_files(files, Node("127.0.0.1", silent.getsockname()[1]))


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("pacs.local:104", "pacs.local", 104), ("127.0.0.1:11112", "127.0.0.1", 11112), ("[::1]:104", "::1", 104)],
)
def test_addresses(address: str, host: str, port: int) -> None:
    node = parse_node(address, ae="A", called_ae="B C")
    assert (node.host, node.port, node.ae, node.called_ae) == (host, port, "A", "B C")


@pytest.mark.parametrize(
    "address", ["pacs", "pacs:", ":104", "pacs:0", "pacs:65536", "a b:104", "http://x:104", "::1:104"]
)
def test_bad_addresses_say_what_was_expected(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        parse_node(address, ae="A", called_ae="B")


@given(st.text(max_size=20))
def test_ae_titles_are_taken_exactly_if_the_standard_takes_them(title: str) -> None:
    # PS3.5 table 6.2-1, VR AE: 1 to 16 characters of the default repertoire, no backslash, not only spaces.
    good = 1 <= len(title) <= 16 and all(" " <= c <= "~" and c != "\\" for c in title) and bool(title.strip(" "))
    try:
        parse_node("h:1", ae=title, called_ae="B")
        taken = True
    except ValueError:
        taken = False
    assert taken == good
