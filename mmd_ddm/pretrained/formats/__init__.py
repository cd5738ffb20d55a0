"""Published checkpoint formats, one file each: from a state dict in its own names to diffusers' `UNet2DModel`."""
