"""Vocabulary: the only words that leave a header. A free text becomes one of these, or says that it is another."""

from __future__ import annotations

import re

VENDORS = {
    "GE": r"\bge\b|general electric|gems|elscint",
    "Siemens": r"siemens|cti\b",
    "Philips": r"philips|adac|marconi|picker",
    "Mediso": r"mediso",
    "Canon": r"canon|toshiba",
    "Spectrum Dynamics": r"spectrum dynamics",
}

MODELS = """
    Millennium Infinia Discovery Optima Brivo Hawkeye Varicam Xeleris StarGuide NM830 NM870 Symbia Intevo e.cam ECAM
    Orbiter Multispect Forte Skylight BrightView Precedence Vertex Pegasys Axis Irix Prism AnyScan Nucline GCA VERITON
""".split()
"""Families of gamma cameras and their workstations."""

TRACERS = {
    "MDP": r"\bmdp\b|medronate|medronic|methylene ?diphosphonate",
    "HDP": r"\bh?m?hdp\b|\bhmdp\b|oxidronate|hydroxymethylene",
    "DPD": r"\bdpd\b|butedronate|teceos",
    "PYP": r"\bpyp\b|pyrophosphate",
}
"""Bone tracers labelled with Tc-99m. DPD and PYP are used for the heart as well."""

BONE_TRACERS = ("MDP", "HDP", "DPD")

_TRACER_CODES = {"96390006": "MDP", "C-B1031": "MDP", "C-B1036": "HDP", "C-B1040": "PYP"}

COLLIMATORS = {
    "LEHR": r"lehr|low.?energy.?high.?res|wehr",
    "LEUHR": r"leuhr|leuhr|ultra.?high",
    "LEAP": r"leap|legp|all.?purpose|general.?purpose",
    "MEGP": r"megp|megap|medium",
    "HEGP": r"hegp|hegap|high.?energy",
}

PRIMARIES = {
    "prostate": r"prostat|전립",
    "breast": r"breast|mamma|유방",
    "lung": r"lung|bronch|nsclc|sclc|폐",
    "kidney": r"kidney|renal|\brcc\b|신장|콩팥",
    "thyroid": r"thyroid|갑상",
    "stomach": r"stomach|gastric|위암",
    "colorectum": r"colon|colorect|rectal|rectum|대장|직장|결장",
    "liver": r"liver|hepato|\bhcc\b|간암|간세포",
    "bladder": r"bladder|urothel|방광",
    "cervix": r"cervi|자궁경부",
}
"""Primary cancers by name; whatever else stands there is `other`."""


def _first(table: dict[str, str], text: str) -> str:
    return next((word for word, pattern in table.items() if re.search(pattern, text, re.IGNORECASE)), "")


def vendor(text: str) -> str:
    """Returns the vendor that a manufacturer's name tells, `other`, or '' for no text."""
    return _first(VENDORS, text) or ("other" if text.strip() else "")


def model(text: str) -> str:
    """Returns the family of the camera that a model's name tells, or ''."""
    known = {name.upper().replace(".", ""): name for name in MODELS}
    words = re.findall(r"[A-Z0-9]+", text.upper().replace(".", ""))
    return next((known[word] for word in words if word in known), "")


def tracer(text: str, code: str = "") -> str:
    """Returns the tracer that a text or a code names, `other` for another one, '' for no text."""
    return _TRACER_CODES.get(code) or _first(TRACERS, text) or ("other" if text.strip() or code else "")


def collimator(text: str) -> str:
    """Returns the kind of collimator, `other`, or '' for no text."""
    return _first(COLLIMATORS, text) or ("other" if text.strip() else "")


def primary_cancer(text: str) -> str:
    """Returns the primary cancer that a text names, `other`, or '' for no text."""
    return _first(PRIMARIES, text) or ("other" if text.strip() else "")
