"""Networks that regress a velocity field, or the data: ``network(x, t[, labels])``, shaped like x.

``x`` has shape (batch, *sample shape); ``t`` holds one time per sample, shape (batch,), or is a
scalar that all samples share.  Networks for classes take ``labels``, int64 of shape (batch,), where
-1 means no label; without them no sample has one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kacflow._arguments import must, wrong_type
from kacflow._optional import require

if TYPE_CHECKING:
    from kacflow.training.config import TrainConfig


def _times(t: Tensor | float, x: Tensor) -> Tensor:
    """``t`` as a vector of length ``x.shape[0]`` on the device of ``x``, in its dtype."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != 1 and t.shape[0] != x.shape[0]):
        allowed = f"a scalar or shape ({x.shape[0]},)"
        raise ValueError(f"t: got shape {tuple(t.shape)}; allowed: {allowed}")
    return t.expand(x.shape[0])


def _image(sample_shape: Sequence[int], what: str) -> tuple[int, int, int]:
    """Channels, height and width."""
    if len(sample_shape) != 3:
        raise ValueError(
            f"sample_shape: got {tuple(sample_shape)}; {what} needs (channels, height, width)"
        )
    channels, height, width = sample_shape
    return channels, height, width


def _classes(labels: Tensor | None, x: Tensor, classes: int) -> Tensor:
    """Rows of an embedding of ``classes`` + 1 rows, whose last stands for no label."""
    if labels is None:
        return torch.full((x.shape[0],), classes, device=x.device)
    return torch.where(labels < 0, classes, labels)


def _begin_at_zero(*layers: nn.Module) -> None:
    for value in nn.ModuleList(layers).parameters():
        nn.init.zeros_(value)


class TimeFeatures(nn.Module):
    """Sines and cosines of time: ``(sin(w_k s), cos(w_k s))`` of the relative time ``s = t /
    horizon``, ``width`` of them, an even number.

    The frequencies w_k are geometric from 1 to ``max_frequency``: the lowest tells 0 from T apart,
    the highest resolves the fast change near the data.
    """

    frequencies: Tensor

    def __init__(self, width: int, horizon: float = 1.0, max_frequency: float = 200.0) -> None:
        super().__init__()
        must(width > 1 and width % 2 == 0, "width", width, "an even integer >= 2")
        powers = torch.linspace(0.0, math.log(max_frequency), width // 2)
        self.register_buffer("frequencies", powers.exp() / horizon, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Features of shape (batch, width) of times of shape (batch,)."""
        angles = t[:, None] * self.frequencies  # (batch, width / 2)
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class _Block(nn.Module):
    """Pre-normalised residual block; time scales and shifts the normalised input."""

    def __init__(self, width: int, time_width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(time_width, 2 * width)
        self.inner = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, width)
        _begin_at_zero(self.outer)

    def forward(self, h: Tensor, features: Tensor) -> Tensor:
        scale, shift = self.modulation(features).chunk(2, dim=1)
        z = torch.addcmul(shift, self.norm(h), 1.0 + scale)
        return h + self.outer(self.dropout(nn.functional.silu(self.inner(z))))


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
    dropout : float
        Share of the features within a block that training leaves out, in [0, 1).
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
        dropout: float = 0.0,
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
        self.blocks = nn.ModuleList(_Block(width, 2 * time_width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, size)
        self.skip = nn.Linear(2 * time_width, size)  # a time-dependent multiple of the input
        _begin_at_zero(self.last, self.skip)

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


class Perceptron(nn.Module):
    """Rectified linear layers on x and t, as in the paper's experiments in the plane.

    Parameters
    ----------
    sample_shape : tuple of int
        Shape of one sample, without the batch axis.
    width : int
        Units per hidden layer, >= 1.
    blocks : int
        Hidden layers, >= 1.
    dropout : float
        Share of the units of each hidden layer that training leaves out, in [0, 1).
    classes : int
        Number of classes, 0 for a network that takes no labels; each adds a vector of its own to
        the first hidden layer.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        width: int = 256,
        blocks: int = 3,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.embedding = nn.Embedding(classes + 1, width) if classes else None
        size = math.prod(sample_shape)
        self.first = nn.Linear(size + 1, width)
        hidden = [
            nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))
            for _ in range(blocks - 1)
        ]
        self.rest = nn.Sequential(*hidden, nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, size))

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The field at ``x`` (batch, *sample_shape) and time ``t`` (scalar or (batch,))."""
        h = self.first(torch.cat((x.flatten(1), _times(t, x)[:, None]), dim=1))
        if self.embedding is not None:
            h = h + self.embedding(_classes(labels, x, self.classes))
        out: Tensor = self.rest(h)
        return out.reshape(x.shape)


class UNet(nn.Module):
    """diffusers' ``UNet2DModel`` behind the call ``network(x, t)``.

    Parameters
    ----------
    sample_shape : (int, int, int)
        Channels, height, width of one image; height and width are divisible by
        ``2 ** (len(multipliers) - 1)``.
    width : int
        Channels at full resolution, >= 1.
    blocks : int
        Residual blocks per resolution, >= 1.
    horizon : float
        T; times are rescaled to [0, 1000], the range of the model's own time embedding.
    multipliers : tuple of int
        Channels of each resolution, in units of ``width``.
    attention : sequence of int, optional
        Heights in pixels of the resolutions with attention; by default that of the last but one,
        unless it is the first.  At the coarsest, between the way down and up, there always is some.
    head_width : int
        Channels per head of attention; divides the channels wherever there is attention.
    scale_shift : bool
        Whether time and class scale and shift the normalised channels; without, they are added.
    dropout : float
        Share of the channels within a residual block that training leaves out, in [0, 1).
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
        attention: Sequence[int] | None = None,
        head_width: int = 8,
        scale_shift: bool = False,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        channels, *sides = _image(sample_shape, "a U-Net")
        last = len(multipliers) - 1
        halved = f"the multipliers {'-'.join(map(str, multipliers))} halve it {last} times"
        good, size = not any(side % 2**last for side in sides), f"{sides[0]} x {sides[1]}"
        must(good, "image_size", size, f"multiples of {2**last}, for {halved}")
        heights = [sides[0] // 2**i for i in range(last + 1)]
        if attention is None:
            attention = heights[last - 1 : last] if last > 1 else ()
        if unknown := set(attention) - set(heights):
            allowed = f"{', '.join(map(str, heights))}, the sides of the resolutions"
            raise ValueError(f"attention: got {max(unknown)}; allowed: {allowed}")
        attended = {width * multipliers[heights.index(side)] for side in attention}
        attended.add(width * multipliers[last])
        good = not any(number % head_width for number in attended)
        channels_made = ", ".join(map(str, sorted(attended)))
        got = f"{width}, which makes {channels_made} channels with attention"
        must(good, "width", got, f"what makes multiples of {head_width}, the head_width")
        kinds = ["Attn" if side in attention else "" for side in heights]
        groups = math.gcd(width, 32)
        self.scale = 1000.0 / horizon
        self.model = require("diffusers").UNet2DModel(
            sample_size=tuple(sides),
            in_channels=channels,
            out_channels=channels,
            layers_per_block=blocks,
            block_out_channels=tuple(width * m for m in multipliers),
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            attention_head_dim=head_width,
            dropout=dropout,
            resnet_time_scale_shift="scale_shift" if scale_shift else "default",
            norm_num_groups=groups,
            attn_norm_num_groups=groups,
            num_class_embeds=classes + 1 if classes else None,
        )

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The field at ``x`` (batch, channels, height, width) and ``t`` (scalar or (batch,))."""
        rows = _classes(labels, x, self.classes) if self.classes else None
        return self.model(x, _times(t, x) * self.scale, class_labels=rows).sample


class DiT(nn.Module):
    """diffusers' ``DiTTransformer2DModel``, a transformer on patches, behind ``network(x, t)``.

    Blocks begin as the identity and the field as zero (adaLN-Zero; Peebles and Xie, ICCV 2023).

    Parameters
    ----------
    sample_shape : (int, int, int)
        Channels, height, width of one square image, or latent.
    width : int
        Features per patch, a multiple of 4 and of ``head_width``.
    blocks : int
        Transformer blocks, >= 1.
    horizon : float
        T; times are rescaled to [0, 1000], the range of the model's own time embedding.
    patch : int
        Side of a patch in pixels; divides that of the image.
    head_width : int
        Features per head of attention.
    dropout : float
        Share of the features within a block that training leaves out, in [0, 1).
    classes : int
        Number of classes, 0 for a network that takes no labels.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        width: int = 384,
        blocks: int = 12,
        horizon: float = 1.0,
        patch: int = 2,
        head_width: int = 64,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        channels, *sides = _image(sample_shape, "a DiT")
        side, unit = sides[0], math.lcm(4, head_width)
        must(side == sides[1], "image_size", f"{side} x {sides[1]}", "squares")
        must(side % patch == 0, "patch", patch, f"divisors of {side}, the side of the image")
        allowed = f"multiples of {unit}, as head_width is {head_width}"
        must(width % unit == 0, "width", width, allowed)
        self.scale = 1000.0 / horizon
        self.model = require("diffusers").DiTTransformer2DModel(
            num_attention_heads=width // head_width,
            attention_head_dim=head_width,
            in_channels=channels,
            num_layers=blocks,
            sample_size=side,
            patch_size=patch,
            dropout=dropout,
            num_embeds_ada_norm=classes,  # and a row for no label
        )
        starting = [self.model.proj_out_1, self.model.proj_out_2]
        for block in self.model.transformer_blocks:
            block.norm1.emb.class_embedder.dropout_prob = 0.0  # labels are left out before
            starting.append(block.norm1.linear)
        _begin_at_zero(*starting)

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The field at ``x`` (batch, channels, side, side) and ``t`` (scalar or (batch,))."""
        rows = _classes(labels, x, self.classes)
        return self.model(x, timestep=_times(t, x) * self.scale, class_labels=rows).sample


def check_network(config: TrainConfig, network: nn.Module | None) -> None:
    """ValueError or TypeError unless a module is given just where ``config`` says "custom"."""
    custom = config.network == "custom"
    if network is None:
        how = "from Python, train(config, network=module) and load_model(place, network=module)"
        must(not custom, "network", "'custom', a module of the user's", how)
    elif not isinstance(network, nn.Module):
        raise wrong_type("network", network, "a torch module or None")
    else:
        must(custom, "network", f"a module with config.network = {config.network!r}", "'custom'")


def build_network(
    config: TrainConfig,
    sample_shape: tuple[int, ...],
    classes: int,
    network: nn.Module | None = None,
) -> nn.Module:
    """The network that ``config`` names, for samples of ``sample_shape`` in ``classes`` classes.

    Consumes torch's global generator for its initial weights.  Of ``network``, the module that
    "custom" stands for, it is a copy.
    """
    check_network(config, network)
    if network is not None:
        return copy.deepcopy(network)
    common: dict[str, Any] = {
        "width": config.width, "blocks": config.blocks, "dropout": config.dropout,
        "classes": classes,
    }  # fmt: skip
    kind = config.resolved_network(sample_shape)
    if kind == "perceptron":
        return Perceptron(sample_shape, **common)
    common["horizon"] = config.T
    if kind == "mlp":
        return ResidualMLP(sample_shape, **common)
    if config.head_width:
        common["head_width"] = config.head_width
    if kind == "dit":
        return DiT(sample_shape, patch=config.patch, **common)
    return UNet(
        sample_shape,
        multipliers=config.listed("multipliers"),
        attention=None if config.attention == "auto" else config.listed("attention"),
        scale_shift=config.scale_shift,
        **common,
    )
