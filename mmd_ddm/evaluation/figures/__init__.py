"""What draws: sheets of images, curves, nearest neighbours and interpolations."""
