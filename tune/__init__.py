"""The search over what the paper leaves open; run as `python tune/search.py`, not installed."""
