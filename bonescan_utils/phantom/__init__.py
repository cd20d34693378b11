"""Physics phantom: synthetic Tc-99m MDP whole-body bone scans with their truth.

A phantom is one patient seen by two detectors: the same lesions, attenuated and blurred by their depth in each view.
Every scan is a pure function of (cohort seed, number). Phantom results are never clinical results.
"""

from bonescan_utils.phantom.cohort import read_labels, read_lesions, read_truth, restore, write_cohort
from bonescan_utils.phantom.patient import Patient, PhantomScan, draw_patient, make_scan

__all__ = [
    "Patient",
    "PhantomScan",
    "draw_patient",
    "make_scan",
    "read_labels",
    "read_lesions",
    "read_truth",
    "restore",
    "write_cohort",
]
