"""Viewer: scans with their saliency maps and truth, read in JupyterLab or on a page that needs no server.

It shows what it is given and computes no score and no map, so it needs no TensorFlow.
"""

from bonescan_utils.viewer.gallery import write_gallery
from bonescan_utils.viewer.montage import plot_viewed
from bonescan_utils.viewer.selection import gallery_scans
from bonescan_utils.viewer.viewed import OUTCOMES, ViewedScan, ViewMaps, outcome_of
from bonescan_utils.viewer.widget import ScanViewer

__all__ = [
    "OUTCOMES",
    "ScanViewer",
    "ViewMaps",
    "ViewedScan",
    "gallery_scans",
    "outcome_of",
    "plot_viewed",
    "write_gallery",
]
