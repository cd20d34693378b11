"""Public layouts: tiny fabricated trees with every trap that the real sets are known to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vendor_files import body

from bonescan_utils.cli import main
from bonescan_utils.files import read_csv, read_text_csv
from bonescan_utils.ingest.layouts import detect, ingest_layout
from bonescan_utils.loading import load_scan
from bonescan_utils.manifest import read_manifest
from bonescan_utils.problems import ManifestError

BOX = (
    "<annotation><object><name>{name}</name><bndbox><xmin>3</xmin><ymin>40</ymin><xmax>9</xmax><ymax>50</ymax></bndbox>"
    "</object></annotation>"
)


def grey(seed: int, side: str) -> np.ndarray:
    counts = body(seed, side=side)
    return (counts / 6).clip(0, 250).astype(np.uint8)


def bs80k(root: Path) -> Path:
    """Writes a BS-80K tree: ids 1-3 sound, 4 in one view, 5 unlabelled, 6 with two labels; known doubles and more."""
    base = root / "temp"
    numbers = {
        "ANT": "1 2 3 4 5 6 828 2244 779 1240 90 91".split(),
        "POST": "1 2 3 5 6 828 2244 779 1240 90 91".split(),
    }
    lists = {"ANT": {"2": 1, "3": 1}, "POST": {"3": 1, "1": 0}}
    for view, ids in numbers.items():
        folder = base / f"wholeBody{view}"
        (folder / view.lower()).mkdir(parents=True)
        lines = []
        for number in ids:
            side = "anterior" if view == "ANT" else "posterior"
            seed = 90 if number == "91" else int(number)
            colour = "RGB" if number == "2" else "L"
            Image.fromarray(grey(seed, side)).convert(colour).save(folder / f"{number}.jpg", quality=95)
            if number != "5":
                lines.append(f"{number}.jpg {lists[view].get(number, 0)}")
        if view == "ANT":
            lines += ["6.jpg 1", "77.jpg 0", "nonsense"]
        (folder / f"{folder.name}.txt").write_text("\n".join(lines) + "\n")
    (base / "wholeBodyANT/ant/2.xml").write_text(BOX.format(name="Abnormal"))
    (base / "wholeBodyPOST/post/3.xml").write_text(BOX.format(name="Normal"))
    (base / "wholeBodyPOST/post/2.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>')
    (base / "kneeLANT").mkdir()
    (base / "kneeLANT/1.jpg").write_bytes(b"crop")
    return root


def test_bs80k(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = bs80k(tmp_path / "bs80k"), tmp_path / "out"
    assert detect(root) == detect(root / "temp") == "bs80k"
    assert main(["ingest", str(root), "--out", str(out / "m.csv")]) == 2
    df = read_manifest(out / "m.csv").set_index("scan_id")
    labels = {"BS80K-1": 0, "BS80K-2": 1, "BS80K-3": 1, "BS80K-4": 0, "BS80K-828": 0}
    assert df["metastasis"].to_dict() == labels  # abnormal in either view
    assert "the views differ" in df.loc["BS80K-2", "notes"] and "the views differ" not in df.loc["BS80K-3", "notes"]
    assert df.loc["BS80K-4", "posterior"] == "" and set(df["label_source"]) == {"bs80k: abnormal in either view"}
    aside = read_text_csv(out / "m_quarantine.csv")
    assert sorted(aside["code"]) == sorted(
        ["absent", "label", "boxes", "no_label", "no_label", "label_conflict", "label_conflict"]
        + ["copy"] * 2 + ["unusable"] * 2 + ["child"] * 2 + ["shared_pixels"] * 4
    )  # fmt: skip
    assert set(aside.loc[aside["code"] == "absent", "row"]) == {"13"}
    boxes = read_csv(out / "m_boxes.csv")
    assert boxes.to_dict("records")[0] == {
        "scan_id": "BS80K-2", "view": "anterior", "x0": 3, "y0": 40, "x1": 9, "y1": 50, "label": "Abnormal",
    }  # fmt: skip
    assert len(boxes) == 2
    flow = read_csv(out / "m_flow.csv")
    files = sum(path.is_file() for path in root.rglob("*"))
    assert flow["n"].iloc[0] == files and "1 other file" in flow["reason"].iloc[1]
    said = capsys.readouterr().out
    assert "5 scans of 5 patients" in said and f"{files} files" in said
    scan = load_scan(df.reset_index().iloc[0].to_dict(), out)
    difference = scan.anterior.counts.astype(int) - grey(1, "anterior")
    assert np.abs(difference).mean() < 3  # a JPEG, as it was


def paraguay(root: Path) -> Path:
    """Writes a Paraguay tree: 2 + 3 patients, one of them with one view, and two files with names of no patient."""
    for folder, numbers in (("Bone metastases", (1, 2)), ("No bone metastases", (1, 2, 10))):
        for view in ("Anterior", "Posterior"):
            place = root / "images" / folder / view
            place.mkdir(parents=True)
            for number in numbers:
                if (number, view) != (10, "Posterior"):
                    counts = body(number + 50 * (folder[0] == "N"), side=view.lower())
                    Image.fromarray(counts).save(place / f"{view[0]}{number}.png")
    (root / "images/Bone metastases/Anterior/x.png").write_bytes(b"?")
    Image.fromarray(body(1)).save(root / "images/Bone metastases/Anterior/A01.png")
    return root


def test_paraguay(tmp_path: Path) -> None:
    root, out = paraguay(tmp_path / "py"), tmp_path / "out"
    assert detect(root) == detect(root / "images") == "paraguay"
    outcome = ingest_layout(root, out / "m.csv", layout="paraguay", n_jobs=1, progress=False)
    df = read_manifest(out / "m.csv")
    assert df["metastasis"].tolist() == [0, 0, 0, 1, 1]
    assert df["scan_id"].tolist() == ["PY-N001", "PY-N002", "PY-N010", "PY-M001", "PY-M002"]
    assert df["patient_id"].nunique() == 5 and df["posterior"].tolist().count("") == 1
    assert set(df["posterior_mirrored"]) == {"no", ""} and set(df["tracer"]) == {"MDP"}
    scan = load_scan(df.iloc[4].to_dict(), out)
    np.testing.assert_array_equal(scan.anterior.counts, body(2))
    np.testing.assert_array_equal(scan.posterior.counts, body(2, side="posterior"))
    assert sorted(read_text_csv(out / "m_quarantine.csv")["code"]) == ["name", "name"]
    assert outcome.ends == {"used": 9, "quarantined": 2, "ignored": 0}
    again = ingest_layout(root, out / "m.csv", layout="paraguay", n_jobs=1, progress=False)
    assert again == outcome


def test_another_folder_is_no_public_layout(tmp_path: Path) -> None:
    (tmp_path / "normal" / "x").mkdir(parents=True)
    assert detect(tmp_path) == "dicom" == detect(tmp_path / "nowhere")
    for layout in ("bs80k", "paraguay"):
        with pytest.raises(ManifestError, match="another layout"):
            ingest_layout(tmp_path, tmp_path / "m.csv", layout=layout)


def test_a_manifest_with_partitions_is_kept(tmp_path: Path) -> None:
    root, out = paraguay(tmp_path / "py"), tmp_path / "out"
    ingest_layout(root, out / "m.csv", layout="paraguay", n_jobs=1, progress=False)
    path = out / "m.csv"
    table = read_text_csv(path).assign(partition="train")
    table.to_csv(path, index=False)
    with pytest.raises(ManifestError, match="worked on"):
        ingest_layout(root, path, layout="paraguay", n_jobs=1, progress=False)
