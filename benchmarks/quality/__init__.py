"""Experiments on quality: what networks generate that differ in their noise, and in nothing else.

``python -m benchmarks.quality`` from the repository's root; see README.md in the folder above.
"""
