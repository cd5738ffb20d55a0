"""MMD-DDM: make a pretrained diffusion model sample well with few network evaluations (arXiv 2301.07969)."""

__version__ = "0.1.0"
