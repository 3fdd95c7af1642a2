"""Networks that regress a velocity field, or the data: ``network(x, t[, labels])``, shaped like x.

``x`` has shape (batch, *sample shape); ``t`` holds one time per sample, shape (batch,), or is a
scalar that all samples share.  Networks for classes take ``labels``, int64 of shape (batch,), where
-1 means no label; without them no sample has one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kacflow._optional import require

if TYPE_CHECKING:
    from kacflow.training.config import TrainConfig

_U_NET_HEAD_WIDTH = 8  # channels per attention head


def _times(t: Tensor | float, x: Tensor) -> Tensor:
    """``t`` as a vector of length ``x.shape[0]`` on the device of ``x``, in its dtype."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] not in (1, x.shape[0])):
        raise ValueError(
            f"t: got shape {tuple(t.shape)}; allowed: a scalar or shape ({x.shape[0]},)"
        )
    return t.expand(x.shape[0])


def _classes(labels: Tensor | None, x: Tensor, classes: int) -> Tensor:
    """Rows of an embedding of ``classes`` + 1 rows, whose last stands for no label."""
    if labels is None:
        return torch.full((x.shape[0],), classes, device=x.device)
    return torch.where(labels < 0, classes, labels)


class TimeFeatures(nn.Module):
    """Sines and cosines of time: ``(sin(w_k s), cos(w_k s))`` of the relative time ``s = t / T``.

    The frequencies w_k are geometric from 1 to ``max_frequency``: the lowest tells 0 from T apart,
    the highest resolves the fast change near the data.

    Parameters
    ----------
    width : int
        Number of features, even, >= 2.
    horizon : float
        T, the largest time, > 0.
    max_frequency : float
        Highest angular frequency in units of 1/T, >= 1.
    """

    frequencies: Tensor

    def __init__(self, width: int, horizon: float = 1.0, max_frequency: float = 200.0) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width: got {width}; allowed: an even integer >= 2")
        powers = torch.linspace(0.0, math.log(max_frequency), width // 2)
        self.register_buffer("frequencies", powers.exp() / horizon, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Features of shape (batch, width) of times of shape (batch,)."""
        angles = t[:, None] * self.frequencies  # (batch, width / 2)
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class _Block(nn.Module):
    """Pre-normalised residual block; time scales and shifts the normalised input."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(time_width, 2 * width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, h: Tensor, features: Tensor) -> Tensor:
        scale, shift = self.modulation(features).chunk(2, dim=1)
        z = torch.addcmul(shift, self.norm(h), 1.0 + scale)
        return h + self.outer(nn.functional.silu(self.inner(z)))


class ResidualMLP(nn.Module):
    """Residual multilayer perceptron for point clouds and small images.

    Parameters
    ----------
    sample_shape : tuple of int
        Shape of one sample, without the batch axis.
    width : int
        Hidden features, >= 1.
    blocks : int
        Residual blocks of two linear layers each, >= 1.
    horizon : float
        T, the largest time the network is asked for, > 0.
    time_width : int
        Number of time features, even.
    classes : int
        Number of classes, 0 for a network that takes no labels.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        width: int = 384,
        blocks: int = 4,
        horizon: float = 1.0,
        time_width: int = 64,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.embedding = nn.Embedding(classes + 1, 2 * time_width) if classes else None
        self.sample_shape = tuple(sample_shape)
        size = math.prod(self.sample_shape)
        self.time = nn.Sequential(
            TimeFeatures(time_width, horizon), nn.Linear(time_width, 2 * time_width), nn.SiLU()
        )
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width, 2 * time_width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, size)
        self.skip = nn.Linear(2 * time_width, size)  # a time-dependent multiple of the input
        for layer in (self.last, self.skip):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The field at ``x`` (batch, *sample_shape) and time ``t`` (scalar or (batch,))."""
        flat = x.flatten(1)  # (batch, size)
        features = self.time(_times(t, x))
        if self.embedding is not None:
            features = features + self.embedding(_classes(labels, x, self.classes))
        h = self.first(flat)
        for block in self.blocks:
            h = block(h, features)
        out = self.last(self.norm(h)) + self.skip(features) * flat
        return out.reshape(x.shape)


class UNet(nn.Module):
    """diffusers' ``UNet2DModel`` behind the call ``network(x, t)``.

    Parameters
    ----------
    sample_shape : (int, int, int)
        Channels, height, width of one image; height and width are divisible by
        ``2 ** (len(multipliers) - 1)``.
    width : int
        Channels at full resolution, a multiple of 8.
    blocks : int
        Residual blocks per resolution, >= 1.
    horizon : float
        T; times are rescaled to [0, 1000], the range of the model's own time embedding.
    multipliers : tuple of int
        Channels of each resolution, in units of ``width``.
    classes : int
        Number of classes, 0 for a network that takes no labels.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        width: int = 64,
        blocks: int = 2,
        horizon: float = 1.0,
        multipliers: tuple[int, ...] = (1, 2, 2),
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        if len(sample_shape) != 3:
            raise ValueError(
                f"sample_shape: got {sample_shape}; a U-Net needs (channels, height, width)"
            )
        channels, *sides = sample_shape
        factor = 2 ** (len(multipliers) - 1)
        if any(side % factor for side in sides):
            raise ValueError(
                f"image size: got {sides[0]} x {sides[1]}; this U-Net halves it "
                f"{len(multipliers) - 1} times: both sides must be multiples of {factor}"
            )
        if width % _U_NET_HEAD_WIDTH:
            raise ValueError(
                f"width: got {width}; allowed for a U-Net: a multiple of {_U_NET_HEAD_WIDTH}"
            )
        last = len(multipliers) - 1
        self.scale = 1000.0 / horizon
        self.model = require("diffusers").UNet2DModel(
            sample_size=tuple(sides),
            in_channels=channels,
            out_channels=channels,
            layers_per_block=blocks,
            block_out_channels=tuple(width * m for m in multipliers),
            down_block_types=tuple(
                "AttnDownBlock2D" if 0 < i == last - 1 else "DownBlock2D"
                for i in range(len(multipliers))
            ),
            up_block_types=tuple(
                "AttnUpBlock2D" if 0 < last - i == last - 1 else "UpBlock2D"
                for i in range(len(multipliers))
            ),
            attention_head_dim=_U_NET_HEAD_WIDTH,
            norm_num_groups=math.gcd(width, 32),
            num_class_embeds=classes + 1 if classes else None,
        )

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The field at ``x`` (batch, channels, height, width) and ``t`` (scalar or (batch,))."""
        rows = _classes(labels, x, self.classes) if self.classes else None
        out: Tensor = self.model(x, _times(t, x) * self.scale, class_labels=rows).sample
        return out


def build_network(config: TrainConfig, sample_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that ``config`` names, for samples of ``sample_shape`` in ``classes`` classes.

    Consumes torch's global generator for its initial weights.
    """
    kinds: dict[str, Any] = {"mlp": ResidualMLP, "unet": UNet}
    return kinds[config.resolved_network(sample_shape)](
        sample_shape, width=config.width, blocks=config.blocks, horizon=config.T, classes=classes
    )
