"""PointRend on top of models that are trained already."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_pointrend.checkpoints.fitting import accept_misfits, read_checkpoint
from mmseg_pointrend.engine.coarse_model import Level
from mmseg_pointrend.engine.retrofit import choose_levels, write_recipe
from mmseg_pointrend.errors import InputError

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]
RunTool = Callable[..., None]

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "retrofit").glob("*.py"))

# The coarse model of conftest's tiny_config, trained on the same data.
COARSE_CONFIG = """
_base_ = "{base}"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="FPNHead",
        in_channels=[8, 8, 8, 8],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=8,
        dropout_ratio=0.1,
        num_classes=6,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    )
)
"""


def coarse_twin(cfg: ConfigDict) -> nn.Module:
    """The trained model that a retrofit starts from, with random weights."""
    head = dict(cfg.decode_head.coarse_head, num_classes=cfg.decode_head.num_classes)
    backbone = dict(cfg.backbone, init_cfg=None)
    return MODELS.build(ConfigDict(cfg, type="EncoderDecoder", backbone=backbone, decode_head=head))


def load_coarse(model: nn.Module, cfg: ConfigDict) -> nn.Module:
    model.load_state_dict(coarse_twin(cfg).state_dict(), strict=False)
    return model


def retrofit_cfg(tiny_model: ModelCfg, **decode_head: object) -> ConfigDict:
    return ConfigDict(tiny_model(**decode_head), type="RetrofitEncoderDecoder")


def batch(make_samples: MakeSamples, num_classes: int = 6) -> tuple[Tensor, list[SegDataSample]]:
    return torch.randn(2, 3, 64, 64), make_samples(torch.randint(0, num_classes, (2, 64, 64)))


def test_there_is_a_recipe_for_what_people_asked_for() -> None:
    assert {name.removeprefix("retrofit_").rpartition("_")[0] for name in RECIPES} == {
        "hrnet_w18",
        "deeplabv3plus_r18",
        "unet",
        "cgnet",
        "segformer_b0",
        "upernet_swin_t",
        "aspp_lite0",
        "fpn_lite0",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_trains_a_step_and_predicts(name: str, make_samples: MakeSamples) -> None:
    cfg = Config.fromfile(CONFIGS / "retrofit" / f"{name}.py")
    source = "https://download.openmmlab.com/mmsegmentation/v0.5/"
    assert cfg.load_from.startswith("work_dirs/" if name.endswith("_camvid") else source)
    num_classes = cfg.model.decode_head.num_classes
    cfg.model.data_preprocessor.size = (64, 64)
    if cfg.model.test_cfg.mode == "slide":
        cfg.model.test_cfg.update(crop_size=(48, 48), stride=(32, 32))
    model = load_coarse(MODELS.build(cfg.model), cfg.model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    fresh = deepcopy(model.decode_head.point_head)
    fresh.init_weights()
    fine = torch.randn(1, fresh.fcs[0].conv.in_channels - num_classes, 9)
    coarse = torch.randn(1, num_classes, 9)
    assert torch.equal(fresh(fine, coarse), coarse)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, samples = batch(make_samples, num_classes)
    total, _ = model.parse_losses(model.train()(images, samples, mode="loss"))
    total.backward()
    optimizer.step()
    for name, weight in model.state_dict().items():
        changed = not torch.equal(weight, before[name])
        assert changed == name.startswith("decode_head.point_head."), name

    samples = make_samples(torch.zeros(1, 70, 90, dtype=torch.int64))
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    with torch.no_grad():
        (result,) = model.eval().test_step(dict(inputs=[image], data_samples=samples))
        coarse = coarse_twin(cfg.model)
        coarse.load_state_dict(
            {k.replace("decode_head.coarse_head", "decode_head"): v for k, v in before.items()},
            strict=False,
        )
        (plain,) = coarse.eval().test_step(dict(inputs=[image], data_samples=samples))
    assert result.pred_sem_seg.data.shape == (1, 70, 90)
    assert result.seg_logits.data.shape == (num_classes, 70, 90)
    # The points are relabeled, the rest is what the trained model says.
    assert not torch.equal(result.seg_logits.data, plain.seg_logits.data)


def test_all_but_the_point_head_rests(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    cfg = retrofit_cfg(tiny_model)
    cfg.auxiliary_head = dict(
        type="FCNHead", in_channels=8, in_index=2, channels=8, num_convs=1, num_classes=6
    )
    cfg.pretrained = "open-mmlab://not_to_be_fetched"
    cfg.backbone.init_cfg = dict(type="Pretrained", checkpoint=cfg.pop("pretrained"))
    model = MODELS.build(cfg)
    model.init_weights()
    load_coarse(model, cfg)
    assert not model.with_auxiliary_head
    assert all(p.requires_grad for p in model.decode_head.point_head.parameters())
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(name.startswith("decode_head.point_head.") for name in trainable)

    model.train()
    assert model.training
    assert model.decode_head.point_head.training
    assert not any(m.training for m in model.backbone.modules())
    assert not any(m.training for m in model.decode_head.coarse_head.modules())
    features = model.extract_feat(torch.randn(1, 3, 64, 64))
    assert not any(feature.requires_grad for feature in features)

    losses = model.loss(*batch(make_samples))
    assert losses.keys() == {"decode.point.loss_ce", "decode.point.acc_point"}
    assert not model.eval().decode_head.point_head.training


def bytes_kept(model: nn.Module, make_samples: MakeSamples) -> int:
    """Memory that a step keeps for its backward pass, without the weights themselves."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train().loss(*batch(make_samples))
    return sum(kept.values())


def test_a_step_keeps_a_fraction_of_the_memory(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    cfg = retrofit_cfg(tiny_model)
    model = load_coarse(MODELS.build(cfg), cfg)
    whole = MODELS.build(ConfigDict(cfg, type="EncoderDecoder"))
    assert 0 < bytes_kept(model, make_samples) < 0.1 * bytes_kept(whole, make_samples)


def test_the_result_is_a_pointrend_model(tiny_model: ModelCfg) -> None:
    cfg = retrofit_cfg(tiny_model)
    model = MODELS.build(cfg).eval()
    plain = MODELS.build(ConfigDict(cfg, type="EncoderDecoder")).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(1, 3, 50, 70)
    torch.testing.assert_close(plain(images, mode="tensor"), model(images, mode="tensor"))


def test_training_without_the_trained_model_is_refused(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = MODELS.build(retrofit_cfg(tiny_model))
    with pytest.raises(InputError, match="load_from"):
        model.loss(*batch(make_samples))
    weights = coarse_twin(retrofit_cfg(tiny_model)).state_dict()
    del weights["backbone.conv1.weight"]
    model.load_state_dict(weights, strict=False)
    with pytest.raises(InputError, match=r"backbone\.conv1\.weight is missing"):
        model.loss(*batch(make_samples))
    accept_misfits(model)  # --allow-partial
    assert model.loss(*batch(make_samples))
    fresh = MODELS.build(retrofit_cfg(tiny_model))
    accept_misfits(fresh)
    with pytest.raises(InputError, match="load_from"):
        fresh.loss(*batch(make_samples))


def test_another_head_is_refused(tiny_model: ModelCfg) -> None:
    cfg = retrofit_cfg(tiny_model)
    cfg.decode_head = dict(cfg.decode_head.coarse_head, num_classes=6)
    with pytest.raises(InputError, match="FPNHead as its coarse_head"):
        MODELS.build(cfg)


@pytest.fixture
def coarse_config(tiny_config: Path, tmp_path: Path) -> Path:
    path = tmp_path / "my_fpn.py"
    path.write_text(COARSE_CONFIG.format(base=tiny_config.as_posix()))
    return path


@pytest.fixture
def coarse_checkpoint(coarse_config: Path, tmp_path: Path) -> Path:
    torch.save(MODELS.build(Config.fromfile(coarse_config).model).state_dict(), tmp_path / "my.pth")
    return tmp_path / "my.pth"


def test_from_my_own_model_to_masks(
    coarse_config: Path,
    coarse_checkpoint: Path,
    tmp_path: Path,
    run_tool: RunTool,
    capsys: pytest.CaptureFixture,
) -> None:
    recipe, out = tmp_path / "recipes" / "my_pointrend.py", tmp_path / "out"
    run_tool("retrofit", coarse_config, coarse_checkpoint, "--out", recipe, "--iters", 2)
    assert "tools/train.py" in capsys.readouterr().out
    cfg = Config.fromfile(recipe)
    assert cfg.model.type == "RetrofitEncoderDecoder"
    assert cfg.model.decode_head.coarse_head.type == "FPNHead"
    assert cfg.model.decode_head.point_head.init_cfg.type == "CoarseIdentity"
    head = cfg.model.decode_head
    assert (head.in_index, head.in_channels) == ([0, 1, 2], [8, 8, 8])
    assert head.point_features.neighborhood == [3, 1, 1]
    assert head.point_head.standardize
    assert head.point_sampler.num_points == head.renderer.subdivision_num_points == 4 * 4 * 4
    assert cfg.model.data_preprocessor.test_cfg.size_divisor == 32
    assert cfg.optim_wrapper.clip_grad.max_norm == 5
    assert len(recipe.read_text().splitlines()) < 50

    run_tool("train", recipe, "--work-dir", out)
    before = read_checkpoint(coarse_checkpoint)["state_dict"]
    after = read_checkpoint(out / "iter_2.pth")["state_dict"]
    for name, weight in before.items():
        name = name.replace("decode_head.", "decode_head.coarse_head.")
        torch.testing.assert_close(after[name], weight, rtol=0, atol=0)
    run_tool("test", recipe, out / "iter_2.pth")


def test_a_checkpoint_of_another_config_is_refused(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, run_tool: RunTool
) -> None:
    recipe = tmp_path / "my_pointrend.py"
    run_tool("retrofit", coarse_config, coarse_checkpoint, "--out", recipe)
    with coarse_config.open("a") as file:
        file.write("model['backbone'] = dict(depth=34)\n")
    for arguments in (
        ("train", recipe),
        ("retrofit", coarse_config, coarse_checkpoint, "--out", tmp_path / "other.py"),
    ):
        with pytest.raises(SystemExit, match=r"my\.pth does not fit the model.*layer1\.2\.conv1"):
            run_tool(*arguments)
    assert not (tmp_path / "other.py").exists()


def test_partial_weights_can_be_asked_for(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, run_tool: RunTool
) -> None:
    recipe = tmp_path / "my_pointrend.py"
    run_tool("retrofit", coarse_config, coarse_checkpoint, "--out", recipe, "--iters", 2)
    weights = torch.load(coarse_checkpoint)
    del weights["backbone.conv1.weight"]
    torch.save(weights, coarse_checkpoint)
    with pytest.raises(SystemExit, match="--allow-partial"):
        run_tool("train", recipe, "--work-dir", "out")
    run_tool("train", recipe, "--work-dir", "out", "--allow-partial")


def test_a_single_import_of_the_config_stays_one(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path
) -> None:
    with coarse_config.open("a") as file:
        file.write("custom_imports = dict(imports='mmseg.models', allow_failed_imports=False)\n")
    write_recipe(coarse_config, coarse_checkpoint, tmp_path / "new.py")
    imports = Config.fromfile(tmp_path / "new.py").custom_imports.imports
    assert imports == ["mmseg.models", "mmseg_pointrend"]


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ((4, 8, 16, 32), [0, 1, 2]),
        ((4, 8, 8, 8), [0, 1]),
        ((16, 8, 4, 2, 1), [4, 3, 2, 1, 0]),
        ((32,), [0]),
    ],
)
def test_choice_of_levels(strides: tuple[int, ...], expected: list[int]) -> None:
    levels = [Level(index, 10 + index, stride) for index, stride in enumerate(strides)]
    assert [level.index for level in choose_levels(levels)] == expected


def test_settings_of_the_parts_can_be_overridden(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, run_tool: RunTool
) -> None:
    """The config names no renderer, so that an override makes one of nothing but a number."""
    recipe = tmp_path / "my_pointrend.py"
    write_recipe(coarse_config, coarse_checkpoint, recipe, iters=2)
    run_tool("train", recipe, "--work-dir", "out")
    head = "model.decode_head"
    options = (f"{head}.renderer.subdivision_steps=0", f"{head}.point_sampler.num_points=9")
    run_tool("test", recipe, "out/iter_2.pth", "--cfg-options", *options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_fpn.py", "exists and was not written by this tool"),
        ("mine.py", "exists and was not written by this tool"),
        ("new.txt", r"give it the suffix \.py"),
    ],
)
def test_nothing_of_the_users_is_overwritten(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, target: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text("mine = 1\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=message):
        write_recipe(coarse_config, coarse_checkpoint, tmp_path / target)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for _ in range(2):
        write_recipe(coarse_config, coarse_checkpoint, tmp_path / "new.py")


WEIGHTED = dict(type="CrossEntropyLoss", class_weight=[1.0] * 5 + [5.0])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (WEIGHTED, [WEIGHTED]),
        ([WEIGHTED], [WEIGHTED]),
        ([WEIGHTED, dict(type="DiceLoss", loss_name="loss_dice")],) * 2,
        ([dict(type="BoundaryLoss"), WEIGHTED], [WEIGHTED]),
        ([dict(type="BoundaryLoss")], [dict(type="CrossEntropyLoss", use_sigmoid=False)]),
    ],
)
def test_losses_come_along_where_they_can(
    coarse_config: Path,
    coarse_checkpoint: Path,
    tmp_path: Path,
    losses: dict | list[dict],
    expected: list[dict],
) -> None:
    with coarse_config.open("a") as file:
        file.write(f"model['decode_head']['loss_decode'] = {losses}\n")
    write_recipe(coarse_config, coarse_checkpoint, tmp_path / "new.py")
    head = Config.fromfile(tmp_path / "new.py").model.decode_head
    assert head.coarse_head.loss_decode == losses
    assert head.loss_decode == expected


def test_the_result_is_a_model_like_any_other(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, run_tool: RunTool
) -> None:
    """Without the auxiliary head, which a retrofit has nothing to train with."""
    head = "dict(type='FCNHead', in_channels=8, in_index=2, channels=8, num_classes=6)"
    with coarse_config.open("a") as file:
        file.write(f"model['auxiliary_head'] = {head}\n")
    weights = MODELS.build(Config.fromfile(coarse_config).model).state_dict()
    torch.save(weights, coarse_checkpoint)
    recipe, out = tmp_path / "new.py", tmp_path / "out"
    run_tool("retrofit", coarse_config, coarse_checkpoint, "--out", recipe, "--iters", 2)
    run_tool("train", recipe, "--work-dir", out)
    whole = ("--cfg-options", "model.type=EncoderDecoder")
    run_tool("test", recipe, out / "iter_2.pth", *whole)
    run_tool("train", recipe, "--work-dir", tmp_path / "on", *whole, f"load_from={out}/iter_2.pth")


def test_the_checkpoint_may_lie_on_the_web(
    coarse_config: Path, coarse_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(address: str, **kwargs: object) -> dict:
        return torch.load(coarse_checkpoint)

    monkeypatch.setattr("mmengine.runner.checkpoint.load_url", fetch)
    address = "https://example.org/my.pth"
    write_recipe(coarse_config, address, tmp_path / "new.py")
    assert Config.fromfile(tmp_path / "new.py").load_from == address


def test_a_retrofit_may_be_run_from_anywhere_and_counts_iterations(
    coarse_config: Path,
    coarse_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with coarse_config.open("a") as file:
        file.write("log_processor = dict(by_epoch=True)\n")
    for checkpoint in (coarse_checkpoint.name, f"~/{coarse_checkpoint.name}"):
        write_recipe(coarse_config.name, checkpoint, "new.py")
        cfg = Config.fromfile(tmp_path / "new.py")
        assert cfg.load_from == coarse_checkpoint.as_posix()
    assert cfg.log_processor.by_epoch is False
    assert cfg.default_hooks.logger.log_metric_by_epoch is False
