"""Readers of images as they are published or kept: one file a format, all behind the protocol `Source`."""
