"""Feature spaces that need neither training nor weights: fixed statistics of images."""
