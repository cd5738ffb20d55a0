"""Grids of settings: the paper's tables and any other, their scores, comparison and report."""
