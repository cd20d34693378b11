"""Whole-body bone scans: metastasis classification by transfer learning, run as a study.

This module imports nothing: each room of the package is imported by its own name, so that reading a
manifest never waits for TensorFlow.
"""

__version__ = "0.1.0"
