"""Pretrained diffusion models: loading, training and exporting diffusers pipelines."""
