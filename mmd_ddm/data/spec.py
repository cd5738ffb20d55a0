"""What the project knows about a data set before it reads one image."""

from __future__ import annotations

from dataclasses import dataclass

from mmd_ddm.data.crop import AS_IS, Crop


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of `size` images, channels (1: grey, 3: colour) x resolution x resolution pixels.

    `base_model` is the pretrained diffusion model that is finetuned on it: the name of a folder shipped in
    `mmd_ddm/pretrained/weights` or kept in `cache_home()/models`, another folder or a hub id; None: the user has to
    name one. An embedded data set has no `origin`.
    """

    name: str
    source: str  # where the images come from, for people
    licence: str
    size: int
    resolution: int
    mirrored: bool  # whether mirror images belong to the set
    base_model: str | None
    channels: int = 3
    feature_spaces: tuple[str, ...] = ("inception", "clip")  # a supervised one first, a self-supervised one last
    loss_features: str | None = None  # what the preset best trains in; None: the last of the feature spaces
    base_model_origin: str | None = None  # of one that has to be imported, with the command that imports it
    embedded: bool = False  # whether its images come with the package
    origin: str | None = None  # what `open_source` reads the images from, or the folder of a prepared store
    given: bool = False  # whether the user named the origin, so that it need not be the published data set
    crop: Crop = AS_IS  # how an image is brought to the resolution
    labelled: bool = True  # whether what the origin has as labels are classes
    labels: str | None = None  # what the user says is the class, see `with_labels`; None: what the reader finds

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.channels, self.resolution, self.resolution
