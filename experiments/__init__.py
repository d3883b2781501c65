"""Experiments: one script a question, run with ``python -m experiments`` (see docs/experiments.md)."""
