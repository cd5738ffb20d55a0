"""Image sets: what they are called, where they come from, and how they are read."""
