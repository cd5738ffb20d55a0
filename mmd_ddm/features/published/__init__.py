"""Feature networks with published weights: Inception, CLIP, DINOv2, and those of open_clip and timm."""
