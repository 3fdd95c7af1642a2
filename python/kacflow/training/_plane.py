"""Laws in the plane that are drawn without end, as data sets."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _normals(uniforms: Tensor) -> Tensor:
    """Two standard normal numbers, (n, 2), of two in [0, 1), (2, n).

    Box and Muller, Ann. Math. Stat. 29 (1958).
    """
    radius = (-2.0 * torch.log1p(-uniforms[0])).sqrt()
    angle = 2.0 * math.pi * uniforms[1]
    return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)


class Plane:
    """A law of the plane, as a :class:`kacflow.training.data.Dataset`.

    An epoch goes once through ``size`` places; every visit draws a new sample.
    """

    in_memory = True
    sample_shape = (2,)
    size = 1024
    classes = 0

    def labels(self, indices: Tensor) -> Tensor:
        raise ValueError("labels: the data has none")

    def raw(self, indices: Tensor) -> Tensor:
        return torch.zeros(len(indices), 2)

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        raise NotImplementedError


class Grid9(Plane):
    """The nine points {-1, 0, 1}^2 of the plane, each blurred by a Gaussian of std 1e-4."""

    size = 9
    classes = 9
    std = 1e-4

    def __init__(self) -> None:
        side = torch.tensor([-1.0, 0.0, 1.0])
        self.centres = torch.cartesian_prod(side, side)  # (9, 2)

    def labels(self, indices: Tensor) -> Tensor:
        return indices

    def raw(self, indices: Tensor) -> Tensor:
        return self.centres[self.labels(indices)]

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        return raw + self.std * _normals(uniforms)


class Gaussians9(Grid9):
    """Gaussians of variance 0.0025 at the points of :class:`Grid9`, with the weights 1/45 to 9/45.

    The weights rise in the order of the points, (-1, -1), (-1, 0), ..., (1, 1), which are the
    classes.
    """

    size = 45
    std = 0.05

    def labels(self, indices: Tensor) -> Tensor:
        # Class k is there k + 1 times: before it lie k (k + 1)/2 places.
        return ((8 * indices + 1).sqrt() - 1).div(2).long()


class Checkerboard(Plane):
    """Uniform on the eight squares of side 1 of [-2, 2]^2 that have the colour of the first, whose
    lower left corner is (-2, -2)."""

    size = 8

    def __init__(self) -> None:
        places = torch.cartesian_prod(torch.arange(4), torch.arange(4))
        self.corners = places[places.sum(1) % 2 == 0] - 2.0  # (8, 2)

    def raw(self, indices: Tensor) -> Tensor:
        return self.corners[indices]

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        return raw + uniforms.T


class Funnel(Plane):
    """Neal's funnel in the plane: x_1 normal of standard deviation 3, and x_2 given x_1 normal of
    variance e^(x_1).

    R. M. Neal, *Slice sampling*, Ann. Stat. 31 (2003), there with nine components like x_2.
    """

    std = 3.0

    def samples(self, raw: Tensor, uniforms: Tensor) -> Tensor:
        first, second = _normals(uniforms).T
        first = self.std * first
        return raw + torch.stack((first, second * (0.5 * first).exp()), dim=1)


#: By the names that ``data`` has for them.
PLANE: dict[str, type[Plane]] = {
    "grid9": Grid9, "gaussians9": Gaussians9, "checkerboard": Checkerboard, "funnel": Funnel,
}  # fmt: skip
