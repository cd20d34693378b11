"""What a manifest must be: a rule for every column, and rules for rows against each other."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from bonescan_utils.files import MEND, CsvText
from bonescan_utils.partitions import PARTITIONS, partly_given, patient_key
from bonescan_utils.problems import NOT_SHOWN, Problem

MAX_TEXT = 200

_DIRECT_IDENTIFIERS = re.compile(
    r"(patient_?)?name|(date_?of_?)?birth(_?date|day)?|dob|accession(_?(no|number))?|mrn|rrn|ssn"
    r"|hospital_?(no|number|id)|phone|address|e_?mail",
    re.IGNORECASE,
)


def _is_id(cell: str) -> bool:
    """An id may become a file name: no separator, no control character, no space at the ends."""
    printable = 0 < len(cell) <= 64 and _is_text(cell) and cell == cell.strip()
    return printable and cell not in (".", "..") and not set(cell) & set('/\\:*?"<>|')


def _is_text(cell: str) -> bool:
    return len(cell) <= MAX_TEXT and cell.isprintable()


def _is_path(cell: str) -> bool:
    path = PurePosixPath(cell)
    relative = not path.is_absolute() and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", cell)
    return cell == "" or (cell.isprintable() and relative and ".." not in path.parts and "\\" not in cell)


def _is_age(cell: str) -> bool:
    return cell == "" or (re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", cell) is not None and float(cell) <= 120)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"(-?[0-9]{1,15}(\.[0-9]{1,15})?)?", cell) is not None


def _is_hash(cell: str) -> bool:
    return re.fullmatch(r"([0-9a-f]{64})?", cell) is not None


def _is_resident_number(cell: str) -> bool:
    """Tells whether a cell has the form of a Korean resident number: birth date, a digit for sex, six digits."""
    found = re.fullmatch(r"\d\d(\d\d)(\d\d)-?[1-8]\d{6}", cell.strip())
    return found is not None and 1 <= int(found[1]) <= 12 and 1 <= int(found[2]) <= 31


_PERSONAL = "It identifies a person: replace it by a pseudonym (`bonescan ingest` makes them)."
_UNLABELLED = "This manifest has no labels yet: `bonescan review`, then `bonescan adjudicate` make them."


@dataclass(frozen=True)
class Rule:
    """What a column's cells must be."""

    holds: Callable[[str], bool]
    expected: str
    hint: str = ""


_PATH = Rule(_is_path, "a relative path with / that stays under the manifest's folder, no '..', no URL")
_HASH = Rule(_is_hash, "64 hexadecimal digits in lower case, or nothing")
_TEXT = Rule(_is_text, f"at most {MAX_TEXT} characters on one line")

RULES: dict[str, Rule] = {
    "scan_id": Rule(_is_id, r"1 to 64 characters, none of / \ : * ? < > | or quotes, no space at the ends"),
    "patient_id": Rule(_is_id, r"1 to 64 characters, none of / \ : * ? < > | or quotes, no space at the ends"),
    "anterior": _PATH,
    "posterior": _PATH,
    "metastasis": Rule(
        lambda cell: cell in ("0", "1"),
        "0 or 1",
        "An unknown label is not 0: leave the scan out or settle it.",
    ),
    "label_source": _TEXT,
    "age": Rule(_is_age, "years from 0 to 120, or nothing"),
    "sex": Rule(lambda cell: cell in ("", "F", "M", "O"), "F, M, O, or nothing"),
    "primary_cancer": _TEXT,
    "site": _TEXT,
    "scanner": _TEXT,
    "partition": Rule(lambda cell: cell in ("", *PARTITIONS), "train, tuning, test, or nothing"),
    "sha256_anterior": _HASH,
    "sha256_posterior": _HASH,
}

COLUMNS = tuple(RULES)
"""The columns of a manifest; further ones ride along as text, as far as the next manifest."""

_NUMBER = Rule(_is_number, "a plain number, or nothing")


def _words(*words: str) -> Rule:
    return Rule(lambda cell: cell in ("", *words), f"{', '.join(words)}, or nothing")


STUDY_COLUMNS: dict[str, Rule] = {
    **dict.fromkeys(
        """
        phantom_seed phantom_index counts_anterior counts_posterior study_day report_days reference_days dose_mbq
        uptake_min velocity_mm_s pixel_mm_row pixel_mm_column
        """.split(),
        _NUMBER,
    ),
    "tracer": _words("MDP", "HDP", "DPD", "PYP", "other"),
    "posterior_mirrored": _words("yes", "no", "unsure"),
    "burned_in": _words("yes", "no", "unknown"),
    "report_label": _words("positive", "uncertain", "negative", "historical", "none"),
}
"""Further columns that a study may use. They and `COLUMNS` enter a run folder, and no other column does."""


def of_study(names: Iterable[str]) -> list[str]:
    """Returns those of the columns that may enter a run folder: a list of what may, never of what may not."""
    return [name for name in names if name in RULES or name in STUDY_COLUMNS]


def check_table(file: str, table: CsvText, *, labelled: bool = True) -> Iterator[Problem]:
    """Gives every problem of a table: header, ragged rows, cells, and rows against each other.

    A column of labels that is blank throughout is one problem, or none if the table need not be `labelled`.
    """
    if not set(table.header) & set(RULES):
        expected, hint = f"the columns {', '.join(COLUMNS)}", "Their names stand in the first line."
        yield Problem(file, 1, value=", ".join(table.header), expected=expected, hint=hint)
        return
    yield from _check_header(file, table.header)
    for line, what in table.faults:
        yield Problem(
            file, line, expected=f"{len(table.header)} fields and closed quotes", hint=f"Found {what}; {MEND}."
        )
    if not table.rows and not table.faults:
        yield Problem(file, 1, expected="at least one scan", hint="The table has a header and no rows.")
    columns = {name: [row[at] for row in table.rows] for at, name in enumerate(table.header)}
    blank = [""] * len(table.rows)
    ids = columns.get("scan_id", blank)
    for name, cells in columns.items():
        rule = RULES.get(name) or STUDY_COLUMNS.get(name, _TEXT)
        if name == "metastasis" and not any(cells):
            if labelled and cells:
                yield Problem(file, 1, column=name, expected="0 or 1 in every row", hint=_UNLABELLED)
            continue
        for line, scan_id, cell in zip(table.lines, ids, cells, strict=True):
            if name in ("scan_id", "patient_id") and _is_resident_number(cell):
                expected = "a pseudonym; this has the form of a resident number"
                yield Problem(file, line, "", name, NOT_SHOWN, expected, _PERSONAL)
            elif not rule.holds(cell) and (labelled or name != "metastasis" or cell):
                shown = NOT_SHOWN if rule is _TEXT and name not in RULES else cell
                yield Problem(file, line, scan_id, name, shown, rule.expected, rule.hint)
    yield from _check_rows(file, table.lines, {name: columns.get(name, blank) for name in COLUMNS}, set(columns))


def _check_header(file: str, header: list[str]) -> Iterator[Problem]:
    missing = [name for name in COLUMNS if name not in header]
    found = ", ".join(header)
    for name in missing:
        yield Problem(file, 1, column=name, expected="this column", hint=f"The columns are: {found}")
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            yield Problem(file, 1, column=name, value=f"{header.count(name)} times", expected="one such column")
        if name == "":
            yield Problem(file, 1, expected="a name for every column", hint="Is there a comma too many?")
        if _DIRECT_IDENTIFIERS.fullmatch(name):
            yield Problem(
                file, 1, column=name, value=name, expected="no column that identifies a person",
                hint="Remove it: a manifest holds study ids only.",
            )  # fmt: skip


def _check_rows(file: str, lines: list[int], columns: dict[str, list[str]], present: set[str]) -> Iterator[Problem]:
    """Checks rows against each other: ids, partitions, files and contents that occur twice."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for at, line in enumerate(lines):
        cell = {name: cells[at] for name, cells in columns.items()}
        scan_id = cell["scan_id"]
        if {"anterior", "posterior"} <= present and not cell["anterior"] and not cell["posterior"]:
            yield Problem(file, line, scan_id, "anterior", "", "a file in anterior, posterior or both")
        for column, key, told, expected in _keys(cell):
            first, before = seen.setdefault(key, (line, told))
            if first != line and (column != "partition" or before != told):
                yield Problem(file, line, scan_id, column, told, expected, f"See also line {first}.")
    blanks = [line for line, cell in zip(lines, columns["partition"], strict=True) if cell == ""]
    if "partition" in present and partly_given(columns["partition"]):
        expected = "a partition in every row or in none"
        yield Problem(file, blanks[0], column="partition", expected=expected, hint=f"{len(blanks)} are blank.")


def _keys(cell: dict[str, str]) -> Iterator[tuple[str, tuple[str, str], str, str]]:
    """Gives (column, key, value, expected) of what one row only may have, or all rows alike (partition)."""
    if cell["scan_id"]:
        yield (
            "scan_id",
            ("scan", patient_key(cell["scan_id"])),
            cell["scan_id"],
            "an id of its own for each scan",
        )
    if cell["patient_id"] and cell["partition"]:
        key = ("patient", patient_key(cell["patient_id"]))
        yield "partition", key, cell["partition"], "all scans of a patient in one partition"
    for name in ("anterior", "posterior"):
        digest = f"sha256_{name}"
        if cell[name] and not (name == "posterior" and cell[name] == cell["anterior"]):
            key = ("file", posixpath.normpath(cell[name]))
            yield name, key, cell[name], "a file that no other row names"
        if cell[digest] and not (name == "posterior" and cell[digest] == cell["sha256_anterior"]):
            yield digest, ("content", cell[digest]), cell[digest], "a content that no other row has"
