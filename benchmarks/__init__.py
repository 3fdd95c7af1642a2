"""Benchmarks: one file per question over one timing module; speed is measured here, not in tests.

Run them from the repository's root: ``python -m benchmarks.pair`` and so on, or ``make bench``.
"""
