"""Sampling chains: noise schedule, timesteps, denoiser, and one pure step per solver."""
