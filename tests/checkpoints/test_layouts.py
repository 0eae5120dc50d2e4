"""Weights of other layouts, through the loaders that people have."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.models.decode_heads import point_head
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_pointrend.checkpoints.fitting import (
    Layout,
    check_weights,
    load_weights,
    read_checkpoint,
    to_own_layout,
)
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.visualization.explanation import explain

ModelCfg = Callable[..., ConfigDict]
RunTool = Callable[..., None]


@pytest.fixture(autouse=True)
def _point_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MMSegmentation's PointHead be built without compiled operators."""
    if point_head.point_sample is None:
        monkeypatch.setattr(point_head, "point_sample", lambda *args, **kwargs: None)


def cascade_cfg(cfg: ConfigDict) -> ConfigDict:
    """MMSegmentation's config of the same model."""
    head = cfg.decode_head
    points = dict(
        type="PointHead", in_channels=[head.in_channels], in_index=[0], channels=head.channels
    )
    return ConfigDict(
        cfg,
        type="CascadeEncoderDecoder",
        num_stages=2,
        decode_head=[dict(part, num_classes=6) for part in (head.coarse_head, points)],
    )


def coarse_cfg(cfg: ConfigDict) -> ConfigDict:
    """Config of the coarse model alone."""
    return ConfigDict(cfg, decode_head=dict(cfg.decode_head.coarse_head, num_classes=6))


def random_weights(cfg: ConfigDict) -> dict[str, Tensor]:
    model = MODELS.build(cfg)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    return Config.fromfile(tiny_config)


@pytest.fixture
def weights(cfg: Config) -> dict[str, dict[str, Tensor]]:
    """Random weights of the same model in each layout."""
    return {
        "own": random_weights(cfg.model),
        "cascade": random_weights(cascade_cfg(cfg.model)),
        "coarse": random_weights(coarse_cfg(cfg.model)),
    }


def save(path: Path, weights: dict[str, Tensor], **meta: object) -> Path:
    torch.save(dict(meta=meta, state_dict=weights, optimizer=dict(state={})), path)
    return path


def of_head(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.startswith("decode_head.")}


def test_layouts_are_told_apart(weights: dict[str, dict[str, Tensor]]) -> None:
    for names, prefix, layout in (
        (weights["own"], "", Layout.POINTREND),
        (weights["cascade"], "", Layout.CASCADE),
        (weights["coarse"], "", Layout.COARSE),
        (["backbone.conv1.weight"], "", None),
        (["module.decode_head.1.fc_seg.x"], "module.", Layout.CASCADE),
        # a coarse head that is a cascade, such as OCRNet's
        (["decode_head.1.conv_seg.weight"], "", Layout.COARSE),
    ):
        assert to_own_layout(dict.fromkeys(names), f"{prefix}decode_head.")[1] is layout


def test_names_become_ours(weights: dict[str, dict[str, Tensor]]) -> None:
    for name in ("own", "cascade"):
        renamed, _ = to_own_layout(weights[name])
        assert renamed.keys() == weights["own"].keys()
        assert all(a is b for a, b in zip(renamed.values(), weights[name].values(), strict=True))
    renamed, _ = to_own_layout(weights["coarse"])
    assert renamed.keys() == {k for k in weights["own"] if ".point_head." not in k}


def test_what_a_point_head_never_used_is_dropped() -> None:
    names = ("1.fc_seg.weight", "1.conv_seg.weight", "0.conv_seg.weight")
    renamed, _ = to_own_layout({f"decode_head.{name}": 0 for name in names})
    assert [*renamed] == [
        "decode_head.point_head.fc_seg.weight",
        "decode_head.coarse_head.conv_seg.weight",
    ]


@pytest.mark.parametrize("layout", ["own", "cascade"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_loader_takes_every_layout(
    cfg: Config,
    weights: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    layout: str,
    prefix: str,
    fresh_runs: None,
) -> None:
    given = {prefix + name: weight for name, weight in weights[layout].items()}
    # as of MMSegmentation 0.x; 1.x has dataset_meta instead
    path = save(tmp_path / "x.pth", given, CLASSES=list("abcdef"), PALETTE=[[0, 0, 0]] * 6)
    expected = to_own_layout(weights[layout])[0]

    with_mmengine = MODELS.build(cfg.model)
    load_checkpoint(with_mmengine, str(path), map_location="cpu", strict=True)
    with_mmseg = init_model(cfg.copy(), str(path), device="cpu")
    ours = MODELS.build(cfg.model)
    assert load_weights(ours, path)["CLASSES"] == list("abcdef")
    cfg.update(load_from=str(path), work_dir=str(tmp_path))
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    for model in (with_mmengine, with_mmseg, ours, runner.model):
        torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)
        assert model.decode_head.misfit is None


def test_weights_of_another_shape_are_not_predicted_with(
    cfg: Config, weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """MMEngine prints what does not fit and goes on with what it had."""
    given = dict(weights["cascade"])
    given["decode_head.1.fc_seg.weight"] = given["decode_head.1.fc_seg.weight"][:4]
    path = save(tmp_path / "x.pth", given, CLASSES=list("abcdef"), PALETTE=[[0, 0, 0]] * 6)
    model = init_model(cfg.copy(), str(path), device="cpu")
    with pytest.raises(InputError, match=r"fc_seg.weight is 4x14x1, the model has 6x14x1"):
        inference_model(model, np.zeros((64, 64, 3), np.uint8))


def test_torch_takes_every_layout_strictly(
    cfg: Config, weights: dict[str, dict[str, Tensor]]
) -> None:
    model = MODELS.build(cfg.model)
    for layout in ("own", "cascade"):
        model.load_state_dict(weights[layout], strict=True)
        expected = to_own_layout(weights[layout])[0]
        torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)


def test_a_coarse_model_is_a_start_and_no_more(
    cfg: Config,
    weights: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    image: object,
    fresh_runs: None,
) -> None:
    path = save(tmp_path / "coarse.pth", weights["coarse"])
    model = init_model(cfg.copy(), str(path), device="cpu")
    found = {k: v for k, v in of_head(model).items() if ".coarse_head." in k}
    expected = to_own_layout(weights["coarse"])[0]
    torch.testing.assert_close(found, {k: expected[k] for k in found}, rtol=0, atol=0)

    with pytest.raises(InputError, match="incomplete"):
        inference_model(model, image)
    with pytest.raises(InputError, match="incomplete"):
        explain(model, {})
    with pytest.raises(InputError, match=r"coarse\.pth.*point_head.*is missing.*incomplete"):
        load_weights(MODELS.build(cfg.model), path)
    check_weights(model, weights["coarse"], path, fresh_point_head=True)

    load_weights(model, path, allow_partial=True)
    inference_model(model, image)


def test_training_starts_from_a_coarse_model(
    tiny_config: Path, weights: dict[str, dict[str, Tensor]], tmp_path: Path, run_tool: RunTool
) -> None:
    path = save(tmp_path / "coarse.pth", weights["coarse"])
    options = ["--cfg-options", f"load_from={path}", "optim_wrapper.optimizer.lr=0"]
    run_tool("train", tiny_config, "--work-dir", tmp_path / "out", *options)
    trained = read_checkpoint(tmp_path / "out" / "iter_2.pth")["state_dict"]
    name = "conv_seg.weight"
    torch.testing.assert_close(
        trained[f"decode_head.coarse_head.{name}"], weights["coarse"][f"decode_head.{name}"]
    )
    run_tool("test", tiny_config, tmp_path / "out" / "iter_2.pth")


def test_a_tool_refuses_and_can_be_told_not_to(
    tiny_config: Path,
    weights: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    run_tool: RunTool,
) -> None:
    path = save(tmp_path / "coarse.pth", weights["coarse"])
    with pytest.raises(SystemExit, match="incomplete"):
        run_tool("test", tiny_config, path)
    run_tool("test", tiny_config, path, "--allow-partial")
    with pytest.raises(SystemExit, match="incomplete"):
        run_tool("predict", tiny_config, path, tmp_path, "--out", tmp_path / "out")


def test_test_takes_mmsegs_layout(
    tiny_config: Path, weights: dict[str, dict[str, Tensor]], tmp_path: Path, run_tool: RunTool
) -> None:
    run_tool("test", tiny_config, save(tmp_path / "x.pth", weights["cascade"]))


@pytest.fixture(params=["train", "test"])
def load_with_tool(
    request: pytest.FixtureRequest, tiny_config: Path, run_tool: RunTool
) -> Iterator[Callable[..., None]]:
    """Start training from, or test, a checkpoint; returns the message that ends it."""

    def load(path: Path, *options: object) -> str:
        arguments = [tiny_config, "--cfg-options", f"load_from={path}", *options]
        if request.param == "test":
            arguments = [tiny_config, path, *(["--cfg-options", *options] if options else [])]
        with pytest.raises(SystemExit) as exit_info:
            run_tool(request.param, *arguments)
        message = str(exit_info.value)
        assert message.startswith("error: ")
        assert str(path) in message
        assert "\n" not in message
        return message

    return load


def test_other_classes_are_named(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path, load_with_tool: Callable[..., str]
) -> None:
    given = dict(weights["own"])
    for name in ("coarse_head.conv_seg", "point_head.fc_seg"):
        given[f"decode_head.{name}.bias"] = torch.zeros(19)
    message = load_with_tool(save(tmp_path / "city.pth", given))
    assert "conv_seg.bias is 19, the model has 6" in message


def test_another_architecture_is_named(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path, load_with_tool: Callable[..., str]
) -> None:
    path = save(tmp_path / "big.pth", weights["own"])
    message = load_with_tool(path, "model.backbone.depth=34")
    assert "backbone.layer1.2.conv1.weight is missing" in message


def test_a_deeper_backbone_is_named(
    weights: dict[str, dict[str, Tensor]], tmp_path: Path, load_with_tool: Callable[..., str]
) -> None:
    # All weights that the model has are there, and fit.
    given = {**weights["own"], "backbone.layer1.2.conv1.weight": torch.zeros(4, 4, 3, 3)}
    message = load_with_tool(save(tmp_path / "deep.pth", given))
    assert "backbone.layer1.2.conv1.weight is not in the model" in message


@pytest.mark.parametrize("content", [b"<html>404</html>", b"PK\x03\x04", b""])
def test_files_that_are_no_checkpoints(
    content: bytes, tmp_path: Path, load_with_tool: Callable[..., str]
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert "not a whole checkpoint" in load_with_tool(path)


def test_training_on_other_classes_can_be_asked_for(
    tiny_config: Path, weights: dict[str, dict[str, Tensor]], tmp_path: Path, run_tool: RunTool
) -> None:
    given = dict(weights["own"])
    given["decode_head.coarse_head.conv_seg.bias"] = torch.zeros(19)
    options = ["--cfg-options", f"load_from={save(tmp_path / 'x.pth', given)}"]
    run_tool("train", tiny_config, "--allow-partial", *options)


@pytest.mark.usefixtures("trusted_mmengine")
def test_mmseg_inferencer(checkpoint: Path, tiny_config: Path, image: object) -> None:
    inferencer = MMSegInferencer(Config.fromfile(tiny_config), str(checkpoint), device="cpu")
    result = inferencer(image, return_datasamples=True)
    assert result.pred_sem_seg.data.shape == (1, 41, 53)


@pytest.mark.usefixtures("trusted_mmengine")
def test_mmengine_reads_back_what_it_saves(checkpoint: Path) -> None:
    read = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
    assert isinstance(next(iter(read["message_hub"]["log_scalars"].values())), HistoryBuffer)


def test_code_is_still_refused(tmp_path: Path) -> None:
    torch.save(dict(x=print), tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pth", weights_only=True)
