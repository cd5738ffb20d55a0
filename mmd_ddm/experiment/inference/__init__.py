"""What is done with a finished model: its images, and figures of them beside those of its base model."""
