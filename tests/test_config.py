import argparse
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.models.backbones import ResNet
from mmseg.registry import MODELS

from mmseg_pointrend.config import (
    add_config_options,
    load_config,
    misspelled_names,
    read_config,
    set_hook,
    type_name,
)
from mmseg_pointrend.errors import InputError

CONFIGS = {
    "gone.py": (None, "no such config file"),
    "folder.py": ("folder", "no such config file"),
    "binary.py": (bytes(range(256)), "not a valid config: 'utf-8' codec"),
    "syntax.py": (b"model = dict(\n", "not a valid config: '\\(' was never closed"),
    "orphan.py": (b"_base_ = 'gone.py'\n", "not a valid config"),
    "raises.py": (b"raise SystemError('two\\nlines')\n", "not a valid config: two lines"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_that_is_no_config_is_named(tmp_path: Path, name: str) -> None:
    content, message = CONFIGS[name]
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        read_config(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trian_cfg.max_iters", r"has no trian_cfg, .* Did you mean train_cfg\?"),
        ("train_dataloader.dataset.pipeline.99.type", "cannot take --cfg-options: .*99"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(
    tiny_config: Path, key: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_config(tiny_config, {key: 1})


def test_overrides_may_be_of_settings_that_only_mmengine_knows(tiny_config: Path) -> None:
    assert read_config(tiny_config, {"find_unused_parameters": True}).find_unused_parameters


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    add_config_options(parser)
    return parser.parse_args(arguments)


def test_options_are_those_of_mmsegmentation(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    options = ("train_cfg.max_iters=7", "model.decode_head.in_index=[1,2]")
    cfg = load_config(parse(str(tiny_config), "--cfg-options", *options))
    assert (cfg.train_cfg.max_iters, cfg.model.decode_head.in_index) == (7, [1, 2])
    assert cfg.launcher == "none"
    assert cfg.work_dir == str(Path("work_dirs/tiny"))
    cfg = load_config(parse(str(tiny_config), "--work-dir", "here", "--launcher", "slurm"))
    assert (cfg.work_dir, cfg.launcher) == ("here", "slurm")


@pytest.mark.parametrize("option", ["no_equals_sign", "model=dict(type='A',neck='B')"])
def test_an_option_that_cannot_be_parsed_is_named(
    option: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as error:
        parse("config.py", "--cfg-options", option)
    assert error.value.code == 2
    assert f"must be KEY=VALUE, got {option}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (dict(type="ResNett"), "ResNett is not in the mmseg::model registry"),
        (dict(type="ResNet", depht=18), "unexpected keyword argument 'depht'"),
    ],
)
def test_a_misspelled_name_is_said_in_one_line(part: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error, misspelled_names():
        MODELS.build(part)
    assert "\n" not in str(error.value)


def test_a_key_that_a_config_lacks_is_named() -> None:
    message = r"The config cannot be built: it has no model\."
    with pytest.raises(InputError, match=message), misspelled_names():
        Config()["model"]


@pytest.mark.parametrize("kind", [ResNet, "ResNet", "mmseg.ResNet"])
def test_a_type_has_one_name(kind: str | type) -> None:
    assert type_name(dict(type=kind)) == "ResNet"


def test_a_part_without_a_type_is_the_default() -> None:
    assert (type_name({}), type_name({}, "ResNet")) == ("", "ResNet")


def test_a_hook_takes_the_place_of_another_of_its_type() -> None:
    cfg = Config(dict(custom_hooks=[dict(type="A", x=1), dict(type="B")]))
    set_hook(cfg, "A", x=2)
    assert cfg.custom_hooks == [dict(type="B"), dict(type="A", x=2)]
    cfg = Config(dict(custom_hooks=None))
    set_hook(cfg, "A")
    assert cfg.custom_hooks == [dict(type="A")]
