"""Paths that are given to an adapter, and as a configuration file has them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kacflow import schedules
from kacflow._arguments import given, must, wrong_type
from kacflow._optional import require
from kacflow._times import as_tensor
from kacflow.gaussian import GaussianPath
from kacflow.noise import BrownianProcess, StraightProcess, UniformProcess
from kacflow.ops._rules import leading
from kacflow.ops._tensors import plain
from kacflow.path import KacPath, Path
from kacflow.process import KacProcess
from kacflow.quantile import QuantileProcess

_ALLOWED = "a kacflow.Path, or what a configuration says of one"
_PATHS: dict[str, type[Path]] = {kind.__name__: kind for kind in (Path, KacPath, GaussianPath)}
#: The noises that a file can name, and the arguments that make one.
_NOISES: dict[type, tuple[str, ...]] = {
    KacProcess: ("a", "c"),
    BrownianProcess: ("sigma",),
    StraightProcess: ("sigma",),
    UniformProcess: ("b",),
    QuantileProcess: ("shape", "bins", "bound", "tails"),
}


class OnKacPath:
    """Made with a Kac path, in front of a class that is made with any path."""

    def __init__(
        self,
        a: float | Tensor,
        c: float | Tensor,
        T: float = 1.0,
        signal: str | schedules.Schedule = "linear",
        clock: str | schedules.Schedule = "linear",
    ) -> None:
        super().__init__(KacPath(KacProcess(a, c), T, signal, clock))  # type: ignore[call-arg]


def check_path(path: Any) -> Path:
    """A path, or TypeError."""
    if not isinstance(path, Path):
        raise wrong_type("path", path, "a kacflow.Path")
    return path


def noise_variance(path: Path, t: Tensor) -> Tensor:
    """Variance of the noise at times ``t``, which have the axes of the data, or none."""
    noise = path.noise
    if isinstance(noise, KacProcess):  # on a path its parameters align as the times do
        noise = KacProcess(*(leading(v, max(v.ndim, t.ndim)) for v in noise._tensors))
    variance = getattr(noise, "variance", None)
    if not callable(variance):
        raise TypeError(
            f"path: its noise {given(noise)} has no variance(t); allowed: a noise with one, "
            "such as KacProcess"
        )
    return variance(as_tensor(path.clock.value(t), t))


def on_cone(noise: Tensor, process: KacProcess, clock: Tensor) -> Tensor:
    """Kac noise of the times ``clock``, in their type; ValueError for other numbers where looking
    at them waits for nothing.

    Where it came in another type, what rounding may have moved off the edge of the light cone is
    put on it: the atoms, and a share of the rest of about that rounding.
    """
    kind, size = torch.finfo(noise.dtype), noise.abs()
    c = process._parameters(noise.device, clock.dtype)[1]
    edge = leading(c, noise.ndim) * leading(clock, noise.ndim)
    if plain(noise) and noise.numel():
        most = edge * (1 + max(1e-6, kind.eps)) + kind.tiny * kind.eps
        excess = float((size.detach() - most.detach()).max())
        got = f"numbers beyond c g(t) by up to {excess:g}"
        must(excess <= 0, "noise", got, "Kac noise of these timesteps, drawn by sample_noise")
    if noise.dtype == clock.dtype:
        return noise
    exact = noise.to(clock.dtype)
    near = edge * (1 - torch.finfo(torch.float32).eps)  # of draws and edges of float32
    return torch.where(size >= near.to(noise.dtype), torch.copysign(edge, exact), exact)


def _named(schedule: Any, table: Mapping[str, type], T: float) -> str | None:
    """The name of a schedule for this T."""
    if getattr(schedule, "T", None) != T:
        return None
    return next((name for name, kind in table.items() if type(schedule) is kind), None)


def describe(path: Path) -> dict[str, Any]:
    """A path in what JSON knows, its tensors as base64 of a safetensors file.

    What no file can name, a noise or a schedule of the user's own, is only shown, under "own".
    """
    signal = _named(path.signal, schedules.SIGNALS, path.T)
    clock = _named(path.clock, schedules.CLOCKS, path.T)
    fields = _NOISES.get(type(path.noise))
    if _PATHS.get(type(path).__name__) is not type(path) or None in (signal, clock, fields):
        return {"own": repr(path)}
    said: dict[str, Any] = {"path": type(path).__name__, "T": path.T}
    if isinstance(path, GaussianPath):
        said |= {"kind": path.kind, "sigma": path.sigma}
        return said | ({"signal": signal, "clock": clock} if path.kind == "diffusion" else {})
    said |= {"signal": signal, "clock": clock, "noise": type(path.noise).__name__}
    tensors = path.noise.state_dict() if isinstance(path.noise, nn.Module) else {}
    for name in fields or ():
        value = getattr(path.noise, name)
        if isinstance(value, Tensor) and value.ndim:
            tensors[name] = value.detach()
        else:
            said[name] = value.item() if isinstance(value, Tensor) else value
    if tensors:
        kept = {name: value.cpu().contiguous().clone() for name, value in tensors.items()}
        data = require("safetensors.torch", __name__).save(kept)
        said["tensors"] = base64.b64encode(data).decode()
    return said


def restore(said: Any, device: torch.device) -> Path:
    """The path that :func:`describe` saw, its tensors on ``device``.

    Raises
    ------
    TypeError, ValueError
        For anything else; naming the argument ``path``.
    """
    if not isinstance(said, Mapping):
        raise wrong_type("path", said, _ALLOWED)
    if "own" in said:
        raise ValueError(
            f"path: got {said['own']!s:.200}, which a file cannot name; allowed: to give the path "
            "again, as from_pretrained(folder, path=path)"
        )
    try:
        return _made(dict(said), device)
    except Exception as error:  # of base64, of safetensors, of torch, of the constructors
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"path: got a description that makes none ({why:.200}); allowed: {_ALLOWED}"
        ) from None


def _made(said: dict[str, Any], device: torch.device) -> Path:
    kind = _PATHS[said.pop("path")]
    if kind is GaussianPath:
        return GaussianPath(**said)
    tensors = {}
    if "tensors" in said:
        data = base64.b64decode(said.pop("tensors"), validate=True)
        found = require("safetensors.torch", __name__).load(data)
        tensors = {name: value.to(device) for name, value in found.items()}
    name = said.pop("noise")
    noise_kind, fields = next((k, f) for k, f in _NOISES.items() if k.__name__ == name)
    own = {name: said.pop(name) for name in fields if name in said}
    noise: Any
    if noise_kind is QuantileProcess:
        noise = QuantileProcess(**own).to(device, tensors["middle"].dtype).requires_grad_(False)
        noise.load_state_dict(tensors)
    else:
        noise = noise_kind(**own, **tensors)
    return kind(noise, **said)
