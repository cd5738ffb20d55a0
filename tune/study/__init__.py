"""The folder of a study, and what is shown while it runs."""
