"""Reporting: a finished run as one page to read and as one folder to submit. Imports no TensorFlow.

Both are written from the run folder alone (`run.json`, `tables/*.csv`, `figures/`, `cohort.csv`): nothing is trained,
scored or computed again, so what is printed is what the run found.
"""
