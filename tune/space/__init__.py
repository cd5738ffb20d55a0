"""The search space: dimensions, conditions, and how users write them."""
