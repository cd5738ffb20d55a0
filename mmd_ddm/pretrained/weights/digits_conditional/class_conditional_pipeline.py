"""A pipeline for images of given classes: diffusers has none that gives a `UNet2DModel` class labels.

This file needs torch and diffusers alone and lies beside the `model_index.json` of every model that uses it, so that
`DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads the model without any other package.
"""

import inspect
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class ClassConditionalPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers has no types
    """`DDPMPipeline`, `DDIMPipeline` and `LDMPipeline` for a network that is told the classes of the images.

    Args:
        unet: called as unet(x, t, class_labels=labels).
        scheduler: of DDIM, DDPM or any other sampler that needs one evaluation a step.
        vae: decodes what the network makes; None: that are images.
    """

    model_cpu_offload_seq = "unet->vae"
    _optional_components: ClassVar[list[str]] = ["vae"]

    def __init__(self, unet: Any, scheduler: Any, vae: Any = None) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae)

    @torch.no_grad()
    def __call__(
        self, class_labels: Any, generator: Any = None, eta: float = 0.0, num_inference_steps: int = 50,
        output_type: str | None = "pil", return_dict: bool = True,
    ) -> Any:  # fmt: skip
        """Generate an image of each of some classes.

        Args:
            class_labels: numbers of the classes, from 0.
            generator: of the noise, or a list with one for each image.
            eta: noise of `DDIMScheduler`, 0 to 1; other schedulers have no use for it.
            num_inference_steps: of the scheduler.
            output_type: `pil`, `np` or `pt`.
            return_dict: whether an `ImagePipelineOutput` is returned, else a tuple.
        """
        labels = torch.as_tensor(class_labels, device=self._execution_device).reshape(-1)
        size, known = self.unet.config.sample_size, self.unet.config.num_class_embeds
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < known):
            raise ValueError(
                f"class_labels are {int(labels.min())} to {int(labels.max())}; they must be 0 to {known - 1}"
            )
        sides = (size, size) if isinstance(size, int) else tuple(size)
        shape = (len(labels), self.unet.config.in_channels, *sides)
        image = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps)
        settings: dict[str, Any] = {"generator": generator}
        if "eta" in inspect.signature(self.scheduler.step).parameters:
            settings["eta"] = eta
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self.unet(image, t, class_labels=labels).sample
            image = self.scheduler.step(output, t, image, **settings).prev_sample
        if self.vae is not None:
            image = self.vae.decode(image / self.vae.config.scaling_factor).sample
        image = (image / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            image = image.cpu().permute(0, 2, 3, 1).numpy()
            if output_type == "pil":
                image = self.numpy_to_pil(image)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=image) if return_dict else (image,)
