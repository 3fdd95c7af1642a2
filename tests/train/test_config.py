"""TrainConfig: validation, round trip, learning rate, documentation."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest

from kacflow.training import TrainConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", 0.0), ("a", math.nan), ("c", -1.0), ("c", math.inf), ("T", 0.0), ("lr", 0.0),
        ("clip", 0.0), ("clip", math.nan), ("ema", 1.0), ("ema", -0.1), ("t_min", 1.0),
        ("t_min", -1e-9), ("steps", 0), ("batch", 0), ("width", 0), ("blocks", 0), ("warmup", -1),
        ("seed", -1), ("seed", 2**63), ("channels", 2), ("image_size", 1), ("data", ""),
        ("path", "brownian"), ("signal", "step"), ("clock", "cubic"), ("network", "cnn"),
        ("precision", "fp8"), ("device", "tpu"), ("lr_schedule", "step"), ("log_every", 0),
        ("checkpoint_every", 0), ("blocks", 10**6), ("batch", 10**12), ("image_size", 10**9),
        ("width", 10**24), ("steps", 10**24), ("out", "a\0b"), ("multipliers", ""),
        ("held_out", 1.0), ("held_out", -0.1), ("key", "a\0b"), ("held_out", math.nan),
        ("multipliers", "1-2-"), ("multipliers", "0-1"), ("multipliers", "1,2"),
        ("multipliers", "none"), ("multipliers", "1-1-1-1-1-1-1-1-1-1-1"), ("attention", "sixteen"),
        ("attention", "-16"), ("attention", "100000"), ("head_width", -1), ("patch", 0),
        ("dropout", 1.0), ("dropout", math.nan),
    ],
)  # fmt: skip
def test_wrong_value_names_field_value_and_allowed(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}: got .*allowed: ") as caught:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 1.5), ("steps", True), ("a", "9"), ("data", 3), ("flip", 1), ("a", True),
     ("steps", np.True_), ("seed", np.float64(3.0)), ("clip", "inf"), ("lr", None), ("lr", 1j),
     ("path", 1), ("channels", [3]), ("out", b"x"), ("key", None), ("label_key", 1),
     ("multipliers", 1), ("multipliers", (1, 2)), ("attention", 16), ("scale_shift", 1)],
)  # fmt: skip
def test_wrong_type(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name}: got "):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


def test_diffusion_needs_a_positive_smallest_time() -> None:
    with pytest.raises(ValueError, match="t_min"):
        TrainConfig(path="diffusion", t_min=0.0)
    assert TrainConfig(path="kac", t_min=0.0).t_min == 0.0


def test_flow_matching_has_no_schedules() -> None:
    with pytest.raises(ValueError, match="signal: got 'cosine'"):
        TrainConfig(path="flow_matching", signal="cosine")
    with pytest.raises(ValueError, match="clock: got 'square'"):
        TrainConfig(path="flow_matching", clock="square")


def test_round_trip_and_integers_for_floats() -> None:
    config = TrainConfig(a=4, c=2, data="grid9", flip=True)  # type: ignore[arg-type]
    assert isinstance(config.a, float)
    assert TrainConfig.from_dict(json.loads(config.to_json())) == config
    with pytest.raises(ValueError, match="rate"):
        TrainConfig.from_dict({"rate": 1})


def test_numbers_of_numpy_are_taken_as_they_are() -> None:
    values = {"a": np.float32(0.1), "lr": np.float16(0.5), "clip": np.float64("inf")}
    numbers = {"steps": np.int64(5), "seed": np.uint64(2**63 - 1), "channels": np.int8(1)}
    config = TrainConfig(**values, **numbers, flip=np.True_)  # type: ignore[arg-type]
    for name, value in {**values, **numbers}.items():
        found = getattr(config, name)
        assert type(found) in (int, float) and found == value
    assert config.flip is True
    assert TrainConfig.from_dict(json.loads(config.to_json())) == config


def test_json_is_strict_and_infinity_comes_back() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    config = TrainConfig(clip=math.inf)
    values = json.loads(config.to_json(), parse_constant=refuse)
    assert values["clip"] == "inf"
    assert TrainConfig.from_dict(values) == config
    with pytest.raises(TypeError, match="configuration: got"):
        TrainConfig.from_dict([("a", 9.0)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lr: got inf"):
        TrainConfig.from_dict({"lr": "inf"})
    assert TrainConfig.from_dict({"out": "inf"}).out == "inf"


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = TrainConfig(lr=0.1, warmup=4, steps=24)
    rates = [config.learning_rate(step) for step in range(25)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[14] == pytest.approx(0.05)  # half-way through the cosine
    assert rates[24] == pytest.approx(0.0)
    assert all(x >= y for x, y in pairwise(rates[4:]))
    constant = TrainConfig(lr=0.1, warmup=0, lr_schedule="constant")
    assert constant.learning_rate(0) == constant.learning_rate(10**6) == 0.1


def test_every_field_is_documented() -> None:
    for item in dataclasses.fields(TrainConfig):
        assert item.metadata["help"]
        assert f"{item.name} : " in (TrainConfig.__doc__ or "")
