"""What kacflow is compared with, written for this suite from published descriptions.

Each competitor is checked in the suite itself: :mod:`benchmarks.checks` measures the error that is
printed next to its time.
"""
