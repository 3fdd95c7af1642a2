"""Configurations by name: the JSON files in ``presets``, each with its description and source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kacflow import _arguments
from kacflow.training.config import TrainConfig

_FOLDER = Path(__file__).with_name("presets")
PRESETS = tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


def preset_file(name: str) -> Path:
    """The file of a preset; ValueError, with the names that are allowed, for another name."""
    return _FOLDER / f"{_arguments.choice('preset', name, PRESETS)}.json"


def read_preset(name: str) -> dict[str, Any]:
    """What the file of a preset says: ``description``, ``source`` and ``config``."""
    return json.loads(preset_file(name).read_text(encoding="utf-8"))


def preset(name: str, **overrides: Any) -> TrainConfig:
    """The configuration that a name stands for, such as that of a paper.

    Parameters
    ----------
    name : str
        One of those that ``kacflow presets`` lists.
    **overrides
        Fields of :class:`TrainConfig` that are to have other values.

    Returns
    -------
    TrainConfig

    Raises
    ------
    TypeError, ValueError
        For an unknown name, or a field that is unknown or may not have its value.

    Examples
    --------
    >>> from kacflow.training import preset
    >>> preset("cifar10", data="photos.zip", batch=64).multipliers
    '1-2-2-2'
    """
    return TrainConfig.from_dict({**read_preset(name)["config"], **overrides})
