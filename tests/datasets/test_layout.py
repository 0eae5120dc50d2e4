from pathlib import Path

import pytest

from mmseg_pointrend.datasets import CamVidDataset
from mmseg_pointrend.datasets.layout import innermost_datasets, list_files
from mmseg_pointrend.errors import InputError

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
    with pytest.raises(InputError, match=r"CamVidDataset finds no files .*train\.txt"):
        list_files(listed)
    (tmp_path / "train.txt").write_text("b\n")
    assert names(listed) == [("images/train/b.jpg", "annotations/train/b.png")]
    (tmp_path / "train.txt").write_text("b.jpg\n")
    with pytest.raises(InputError, match=r"first is .*b\.jpg\.jpg.* ann_file, whose lines"):
        list_files(listed)


@pytest.mark.parametrize(
    "setting", [dict(ann_file="instances.json"), dict(seg_map_suffix=".json")], ids=str
)
def test_polygons(cfg: dict, setting: dict) -> None:
    message = rf"{next(iter(setting))} names polygons \(\.json\).*annToMask"
    with pytest.raises(InputError, match=message) as error:
        list_files({**cfg, **setting})
    assert len(str(error.value)) < 400


def test_missing_files(cfg: dict, tmp_path: Path) -> None:
    (tmp_path / "annotations/train/b.png").unlink()
    with pytest.raises(InputError, match=r"1 files are missing, the first is .*train/b\.png.*png'"):
        list_files(cfg)
    with pytest.raises(InputError, match=r"no image \.tif in .*images/train; set img_suffix"):
        list_files(dict(cfg, img_suffix=".tif"))


@pytest.mark.parametrize("kind", ["CityscapesDataset", "mmseg.ADE20KDataset", CamVidDataset])
def test_missing_folders_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | type
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        list_files(dict(type=kind, data_root="data", data_prefix=PREFIX))
    for part in (PREFIX["img_path"], str(tmp_path), "dataset_prepare"):
        assert part in str(error.value)


def test_what_is_not_on_disk_is_not_listed() -> None:
    assert list_files(dict(type="ShapesDataset", size=64, length=3)) == []
    assert list_files(dict(type="BaseDataset")) == []


def test_wrappers_are_looked_into() -> None:
    a, b = dict(type="A"), dict(type="B")
    both = dict(type="ConcatDataset", datasets=[a, dict(type="RepeatDataset", dataset=b)])
    assert [*innermost_datasets(both)] == [a, b]
