"""The unconditional pipeline of :mod:`kacflow.adapters.diffusers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kacflow._arguments import choice, flag, integer, must, wrong_type
from kacflow._optional import require
from kacflow.ops import _tensors

_library = require("diffusers", __name__)
DiffusionPipeline: Any = _library.DiffusionPipeline
ImagePipelineOutput: Any = _library.ImagePipelineOutput
VaeImageProcessor: Any = require("diffusers.image_processor", __name__).VaeImageProcessor


def generators(value: Any, shape: Sequence[int]) -> Any:
    """A source of seeds, or a list of them, one for each sample of a batch, or None."""
    if value is None or isinstance(value, torch.Generator):
        return value
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(g, torch.Generator) for g in value
    ):
        raise wrong_type("generator", value, "a torch.Generator, a list of them or None")
    fits = value and list(shape[:1]) == [len(value)]
    must(fits, "generator", len(value), f"one, or as many as samples in {tuple(shape)}")
    return list(value)


class KacPipeline(DiffusionPipeline):
    """Unconditional images from a diffusers U-Net that predicts dx/dt, from data to noise.

    Starts from noise at timestep ``num_train_timesteps``, which it draws itself, Kac noise or that
    of another path, and steps to data at timestep 0.  ``save_pretrained`` and
    ``KacPipeline.from_pretrained`` keep network, schedule and process.

    Parameters
    ----------
    unet : diffusers.UNet2DModel
        Called as ``unet(x, timestep).sample``.
    scheduler : KacEulerScheduler, KacAB2Scheduler, NoiseEulerScheduler or NoiseAB2Scheduler
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int = 100,
        output_type: str = "pil",
        return_dict: bool = True,
        first: int = 0,
    ) -> Any:
        """Generate images.

        Parameters
        ----------
        batch_size : int
            Number of images, >= 1.
        generator : torch.Generator or list of them, optional
            Source of the noise, one for all or one per image; by default torch's own.
        num_inference_steps : int
            Evaluations of the network.
        output_type : str
            ``"pil"``, ``"np"`` (B, height, width, channels), ``"pt"`` (B, channels, height, width),
            all in [0, 1] with values of [-1, 1] beyond it cut off; or ``"latent"``: the samples as
            they are, about [-1, 1].
        return_dict : bool
            Return an ``ImagePipelineOutput``, or a tuple.
        first : int
            Number of the first image in a larger batch, see :meth:`kacflow.KacPath.sample`.

        Returns
        -------
        ImagePipelineOutput or tuple
            ``images``.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was given and what is allowed.

        Notes
        -----
        A network of 16 bits sees points of 16 bits; the scheduler keeps them in float32.
        """
        choice("output_type", output_type, ("pil", "np", "pt", "latent"))
        flag("return_dict", return_dict)
        batch_size = integer("batch_size", batch_size, 1, 2**31 - 1)
        size = self.unet.config.sample_size
        must(size is not None, "unet", "config.sample_size None", "the size of the images")
        sides = (size, size) if isinstance(size, int) else tuple(size)
        device, dtype = self._execution_device, self.unet.dtype
        image = self.scheduler.init_noise(
            (batch_size, self.unet.config.in_channels, *sides),
            generator=generator,
            first=first,
            dtype=_tensors.working_dtype(dtype),
            device=device,
        ).to(dtype)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        self.scheduler.set_begin_index(0)
        for timestep in self.progress_bar(self.scheduler.timesteps):
            velocity = self.unet(image, timestep).sample
            image = self.scheduler.step(velocity, timestep, image, return_dict=False)[0]
        images = VaeImageProcessor().postprocess(image, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
