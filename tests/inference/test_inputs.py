from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.inputs import each_image, find_images


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def targets(found: dict[Path, Path]) -> dict[str, str]:
    return {path.name: target.as_posix() for path, target in found.items()}


def test_files_keep_their_order_and_lose_their_folder(tmp_path: Path) -> None:
    paths = touch(tmp_path, "b.jpg", "deep/a.b.png", "c")
    found = find_images(map(str, paths))
    assert list(found) == paths
    assert targets(found) == {"b.jpg": "b", "a.b.png": "a.b", "c": "c"}


def test_a_folder_is_searched_in_depth_for_images_alone(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "sub/a.jpeg", "sub/deep/z.tif", "notes.txt", "sub/x.json")
    (tmp_path / "folder.png").mkdir()
    found = find_images([str(tmp_path)])
    assert list(found) == sorted(found)
    assert targets(found) == {
        "a.png": "a",
        "b.JPG": "b",
        "a.jpeg": "sub/a",
        "z.tif": "sub/deep/z",
    }


def test_patterns_name_files_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a1.png", "a2.png", "b.png", "sub/a3.png")
    assert targets(find_images([str(tmp_path / "a*.png")])) == {"a1.png": "a1", "a2.png": "a2"}
    found = find_images([str(tmp_path / "**" / "*")])
    assert targets(found).keys() == {"a1.png", "a2.png", "b.png", "a3.png"}


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "a[1].png")
    assert list(find_images([str(path)])) == [path]


def test_an_image_named_twice_is_one_image(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "a.png")
    assert list(find_images([str(path), str(tmp_path / "*.png"), str(tmp_path)])) == [path]


@pytest.mark.parametrize("name", ["gone.png", "*.gone", "empty"])
def test_an_input_that_matches_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "a.png", "empty/notes.txt")
    with pytest.raises(InputError, match="no such image"):
        find_images([str(tmp_path / "a.png"), str(tmp_path / name)])


@pytest.mark.parametrize(("first", "second"), [("a.png", "a.jpg"), ("x/a.png", "y/a.png")])
def test_images_of_one_name_are_all_found(tmp_path: Path, first: str, second: str) -> None:
    paths = touch(tmp_path, first, second)
    assert list(find_images(map(str, paths))) == paths
    # below one folder they keep apart
    if paths[0].parent != paths[1].parent:
        assert len({*find_images([str(tmp_path)]).values()}) == 2


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "in/a.png")
    touch(tmp_path, "elsewhere/b.png")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "self.png").symlink_to(tmp_path / "in" / "self.png")
    assert list(find_images([str(tmp_path / "in")])) == [path]
    assert list(find_images([str(tmp_path / "in" / "**" / "*.png")])) == [path]
    with pytest.raises(InputError, match=r"self\.png: no such image"):
        find_images([str(tmp_path / "in" / "self.png")])


def test_a_pattern_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/a.png", "b.png")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert targets(find_images(["../*.png", "../in/*"])) == {"a.png": "a", "b.png": "b"}


def test_targets_lie_below_whatever_the_input_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/x/..a.png", "in/ .png", "in/a\nb.png", "in/名\udcff.png")
    monkeypatch.chdir(tmp_path / "in" / "x")
    for name in ("..", "../../in", str(tmp_path / "in" / "x" / "..")):
        found = find_images([name])
        assert len(found) == 4
        for target in found.values():
            assert not target.is_absolute()
            assert ".." not in target.parts


@pytest.mark.parametrize("name", ["", "a**b.png", "x" * 300 + "*"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        find_images([name])


def test_images_are_read_one_by_one(tmp_path: Path, image: np.ndarray) -> None:
    for name in ("a", "b"):
        Image.fromarray(image[..., ::-1]).save(tmp_path / f"{name}.png")
    asked = []

    def sources() -> Iterator[object]:
        for source in (image, tmp_path / "a.png", str(tmp_path), str(tmp_path / "*.png")):
            asked.append(source)
            yield source

    images = each_image(sources())
    assert not asked
    next(images)
    assert len(asked) == 1
    rest = list(images)
    assert rest == [tmp_path / name for name in ("a.png", "a.png", "b.png", "a.png", "b.png")]


@pytest.mark.parametrize("wrong", [3, [3], [None], [[Path("a.png")]], [b"a.png"]])
def test_what_is_no_image_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="path"):
        list(each_image(wrong))
