import os
import stat
from pathlib import Path

import pytest

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.files import replacing


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_umask_leaves(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a.txt") as partial:
            partial.write_text("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_a_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(KeyError), replacing(path) as partial:
        {}[partial.write_text("half")]
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_names_may_be_as_long_as_the_file_system_has_them(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".txt")  # of 255 bytes at most
    with replacing(path) as partial:
        partial.write_text("a")
    assert path.read_text() == "a"
    with pytest.raises(InputError, match="too long"), replacing(tmp_path / ("x" * 256)) as partial:
        partial.write_text("a")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_a_place_that_cannot_be_written_is_an_error_of_the_user(
    tmp_path: Path, obstacle: str
) -> None:
    if obstacle == "file":
        (tmp_path / "out").write_text("a file")
        path = tmp_path / "out" / "a.txt"
    else:
        path = tmp_path / "a.txt"
        path.mkdir()
    with pytest.raises(InputError, match=r"a\.txt: cannot be written"), replacing(path) as partial:
        partial.write_text("a")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "a.txt").symlink_to(tmp_path / "secret")
    with replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "secret").read_text() == "kept"
    assert (tmp_path / "a.txt").read_text() == "new"
