"""Trials run by Ray Tune: the trainable, the searcher, early stopping, and the callback that records."""
