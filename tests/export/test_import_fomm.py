"""Original First Order Model checkpoints compute here what they computed there."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import ModelError
from avatarify_plus.network.config import HourglassConfig
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.weights import read_model
from export import import_fomm
from export.import_fomm import import_model

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model(fomm_checkpoint: Path) -> AnimationModel:
    return import_model(fomm_checkpoint, 256)


@pytest.fixture
def altered(fomm_checkpoint: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Return a function that writes the checkpoint after a change to it."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        values = torch.load(fomm_checkpoint, weights_only=True)
        change(values)
        torch.save(values, tmp_path / "altered.pth.tar")
        return tmp_path / "altered.pth.tar"

    return write


def test_sizes_are_read_off_the_tensors(model: AnimationModel) -> None:
    config = model.config
    assert (config.preset, config.keypoints, config.keypoint_count) == ("fomm", "learned", 10)
    assert config.detector == HourglassConfig(8, 64, 5)
    assert config.motion == HourglassConfig(16, 64, 5)
    assert (config.generator_width, config.generator_max_width, config.residual_blocks) == (16, 64, 6)
    assert (config.image_size, config.motion_size, config.final_kernel) == (256, 64, 7)
    assert config.corner_aligned_grid and config.occlusion_first


def test_it_computes_what_the_original_code_does(model: AnimationModel, fomm_io: Path) -> None:
    with np.load(fomm_io) as file:
        original = {name: torch.from_numpy(file[name]) for name in file}
    with torch.inference_mode():
        source, driving = model.detect(original["source"]), model.detect(original["driving"])
        prediction = model(original["source"], source, driving)
    found = {
        "kp_source_value": source.value,
        "kp_source_jacobian": source.jacobian,
        "kp_driving_value": driving.value,
        "kp_driving_jacobian": driving.jacobian,
        "mask": prediction.motion.mask,
        "occlusion_map": prediction.motion.occlusions[0],
        "prediction": prediction.image,
    }
    for name, tensor in found.items():
        torch.testing.assert_close(
            tensor, original[name], atol=TOLERANCE, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_the_bundle_holds_the_same_weights(model: AnimationModel, fomm_bundle: Bundle) -> None:
    assert fomm_bundle.manifest.licence == "as the imported checkpoint"
    assert fomm_bundle.manifest.training == {"data": "imported from fomm-tiny.pth.tar"}
    weights = read_model(fomm_bundle.weights, fomm_bundle.config).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def test_what_released_checkpoints_also_hold_is_ignored(
    model: AnimationModel, altered: Callable[[Callable[[dict[str, Any]], object]], Path]
) -> None:
    def as_released(values: dict[str, Any]) -> None:
        values |= {"discriminator": OrderedDict(x=torch.zeros(2)), "optimizer_generator": {"state": {}, "lr": 0.1}}
        for part in ("generator", "kp_detector"):
            for name in [name for name in values[part] if name.endswith("num_batches_tracked")]:
                del values[part][name]

    imported = import_model(altered(as_released), 256).state_dict()
    assert torch.equal(imported["generator.final.weight"], model.state_dict()["generator.final.weight"])


def test_heads_that_fomm_was_trained_without_are_made_up_for(
    altered: Callable[[Callable[[dict[str, Any]], object]], Path], fomm_io: Path
) -> None:
    with np.load(fomm_io) as file:
        source, driving = (torch.from_numpy(file[name]) for name in ("source", "driving"))
    jacobian = ("jacobian.weight", "jacobian.bias")
    occlusion = ("dense_motion_network.occlusion.weight", "dense_motion_network.occlusion.bias")

    def predict(change: Callable[[dict[str, Any]], object]) -> torch.Tensor:
        model = import_model(altered(change), 256)
        with torch.inference_mode():
            prediction = model(source, model.detect(source), model.detect(driving))
        assert prediction.image is not None
        return prediction.image

    def one_map(values: dict[str, Any]) -> None:
        values["kp_detector"] |= {name: values["kp_detector"][name][:4] for name in jacobian}

    def the_map_for_each_keypoint(values: dict[str, Any]) -> None:
        values["kp_detector"] |= {name: torch.cat([values["kp_detector"][name][:4]] * 10) for name in jacobian}

    def without(part: str, names: tuple[str, str]) -> Callable[[dict[str, Any]], object]:
        return lambda values: [values[part].pop(name) for name in names]

    def nowhere_stretched(values: dict[str, Any]) -> None:
        weight, bias = jacobian
        values["kp_detector"][weight].zero_()
        values["kp_detector"][bias].copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(10))

    def all_kept(values: dict[str, Any]) -> None:
        weight, bias = occlusion
        values["generator"][weight].zero_()
        values["generator"][bias].fill_(1000.0)

    whole = predict(lambda values: None)
    for change, twin in (
        (one_map, the_map_for_each_keypoint),
        (without("kp_detector", jacobian), nowhere_stretched),
        (without("generator", occlusion), all_kept),
    ):
        found = predict(change)
        assert torch.equal(found, predict(twin))
        assert not torch.equal(found, whole)


@pytest.mark.parametrize(("ratio", "size"), [(1, 64), (2, 128), (8, 512)])
def test_how_much_pictures_are_reduced_is_read_off_the_kernel(
    altered: Callable[[Callable[[dict[str, Any]], object]], Path], ratio: int, size: int
) -> None:
    def reduced(values: dict[str, Any]) -> None:
        for part, name in (("kp_detector", "down.weight"), ("generator", "dense_motion_network.down.weight")):
            if ratio == 1:
                del values[part][name]
            else:
                width = 4 * (ratio - 1) + 1
                values[part][name] = torch.zeros(3, 1, width, width)

    path = altered(reduced)
    model = import_model(path, size)
    assert (model.config.image_size, model.config.motion_size) == (size, 64)
    picture = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        keypoints = model.detect(picture)
        image = model(picture, keypoints, keypoints).image
    assert image is not None and image.shape == picture.shape
    with pytest.raises(ModelError, match=rf"pictures of {32 * ratio} px or a multiple.*found {size + 1}$"):
        import_model(path, size + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("kp_detector"), "lacks 'kp_detector'"),
        (lambda c: c["generator"].pop("final.weight"), r"generator\.final\.weight is missing"),
        (lambda c: c["generator"].pop("bottleneck.r1.conv2.bias"), r"missing: generator\.bottleneck\.r1\.conv2\.bias"),
        (
            lambda c: c["kp_detector"].pop("predictor.decoder.up_blocks.2.norm.running_var"),
            r"missing: kp_detector\.predictor\.decoder\.up_blocks\.2\.norm\.running_var",
        ),
        (lambda c: c["kp_detector"].update(extra=torch.zeros(1)), r"unknown: kp_detector\.extra"),
        (
            lambda c: c["generator"].update({"first.conv.scale": torch.zeros(1)}),
            r"unknown: generator\.first\.conv\.scale",
        ),
        (lambda c: c["generator"].update({"final.bias": torch.zeros(4)}), r"another shape: generator\.final\.bias"),
        (lambda c: c["kp_detector"].pop("jacobian.bias"), r"missing: kp_detector\.jacobian\.bias"),
        (lambda c: c["kp_detector"]["jacobian.bias"].fill_(np.nan), r"not finite, in kp_detector\.jacobian\.bias"),
        (
            lambda c: c["kp_detector"].update({"jacobian.weight": torch.tensor(1.0)}),
            r"shape: kp_detector\.jacobian\.weight",
        ),
        (
            lambda c: c["generator"].update({"final.bias": torch.zeros(3).to_sparse()}),
            r"no plain numbers: generator\.final\.bias",
        ),
        (
            lambda c: c["generator"].update({"final.weight": torch.zeros(1).expand(10**7, 10**6)}),
            r"no plain numbers: generator\.final\.weight",
        ),
        (
            lambda c: c["generator"].update({"final.weight": torch.zeros(3, device="meta")}),
            r"no plain numbers: generator\.final\.weight",
        ),
        (lambda c: c["kp_detector"].update({"kp.weight": torch.tensor(1.0)}), r"kp\.weight is no convolution's weight"),
        (
            lambda c: c["kp_detector"].update({"down.weight": torch.zeros(3, 1, 5, 5)}),
            "reduces pictures .* differently",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    altered: Callable[[Callable[[dict[str, Any]], object]], Path],
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    with pytest.raises(ModelError, match=message):
        import_model(altered(change), 256)


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, numbers, out = tmp_path / "notes.txt", tmp_path / "numbers.pt", tmp_path / "out"
    text.write_text("no checkpoint")
    torch.save([1, 2], numbers)
    for path, message in (
        (text, "it is not a PyTorch file of tensors and plain values alone"),
        (numbers, "holds a list"),
        (tmp_path / "nowhere.pt", "nowhere.pt"),
    ):
        assert import_fomm.main([str(path), str(out)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("avatarify: error: ") and message in error and error.count("\n") == 1
        assert not out.exists()


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"generator": Path("anything"), "kp_detector": {}}, tmp_path / "objects.pt")
    with pytest.raises(ModelError, match=r"it holds pathlib[\w.]*, which is neither a tensor"):
        import_model(tmp_path / "objects.pt", 256)
