"""The search over what the paper leaves open, and ablations; run as `python tune/search.py`, not installed."""
