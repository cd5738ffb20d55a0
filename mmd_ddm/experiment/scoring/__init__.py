"""Scores: models with their samplers, scored in one way, and the results as files, tables and words."""
