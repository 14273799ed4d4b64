"""Whole data sets: recordings, analyses, the report."""
