"""Scores of generated images against real ones, and the figures that show them."""
