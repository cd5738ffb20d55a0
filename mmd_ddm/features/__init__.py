"""Feature spaces: frozen networks that turn images into the vectors whose distributions are compared."""
