"""One run: its configuration, its parts put together, and the back ends that carry it out."""
