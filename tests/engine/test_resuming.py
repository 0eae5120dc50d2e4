import os
import shutil
from pathlib import Path

import pytest
import torch
from malice import Malicious
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmseg_pointrend.checkpoints.reading import RefusedCheckpoint
from mmseg_pointrend.engine.resuming import (
    checkpoint_folder,
    newest_checkpoint_of,
    newest_whole_checkpoint,
)
from mmseg_pointrend.errors import InputError


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(MMLogger, "warning", lambda _logger, message: seen.append(message))
    return seen


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    """A run's folder with three whole checkpoints, of which the newest is iter_10."""
    for number, written in ((2, 100), (9, 200), (10, 300)):
        path = tmp_path / f"iter_{number}.pth"
        shutil.copy(checkpoint, path)
        os.utime(path, (written, written))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_10.pth"))
    (tmp_path / "best_mIoU_iter_11.pth").write_bytes(b"of another kind")
    return tmp_path


def truncate(path: Path) -> None:
    modified = path.stat().st_mtime
    path.write_bytes(path.read_bytes()[:-100])
    os.utime(path, (modified, modified))


def test_the_newest_is_that_of_the_highest_number(folder: Path, warnings: list[str]) -> None:
    assert newest_whole_checkpoint(folder) == folder / "iter_10.pth"
    assert newest_whole_checkpoint(str(folder)) == folder / "iter_10.pth"
    assert not warnings


@pytest.mark.parametrize("content", [None, "", "/gone/iter_9.pth", "iter_99.pth", "\0", "."])
def test_last_checkpoint_may_be_missing_or_behind(
    folder: Path, warnings: list[str], content: str | None
) -> None:
    last = folder / "last_checkpoint"
    last.unlink()
    if content is not None:
        last.write_text(content)
    assert newest_whole_checkpoint(folder) == folder / "iter_10.pth"


def test_broken_ones_are_named_and_passed_over(folder: Path, warnings: list[str]) -> None:
    truncate(folder / "iter_10.pth")
    assert newest_whole_checkpoint(folder) == folder / "iter_9.pth"
    (folder / "iter_9.pth").write_bytes(b"")
    assert newest_whole_checkpoint(folder) == folder / "iter_2.pth"
    assert "iter_10.pth is not a whole checkpoint" in warnings[0]
    assert "iter_9.pth is not a whole checkpoint" in warnings[2]


def test_without_a_whole_one_the_user_decides(folder: Path, warnings: list[str]) -> None:
    for path in folder.glob("iter_*.pth"):
        truncate(path)
    with pytest.raises(InputError, match=r"none of the 3 checkpoints .*iter_10\.pth") as error:
        newest_whole_checkpoint(folder)
    assert "Remove them to start afresh" in str(error.value)
    # weights alone are no state of a training
    torch.save(dict(state_dict=dict(w=torch.ones(1))), folder / "iter_10.pth")
    with pytest.raises(InputError, match="no state of a training"):
        newest_whole_checkpoint(folder)


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert newest_whole_checkpoint(tmp_path) is None
    assert newest_whole_checkpoint(tmp_path / "gone") is None


def test_those_of_a_longer_run_before_are_older(folder: Path, checkpoint: Path) -> None:
    path = folder / "iter_5000.pth"
    shutil.copy(checkpoint, path)
    os.utime(path, (250, 250))
    assert newest_whole_checkpoint(folder) == folder / "iter_10.pth"
    # killed between the two writes of a save
    os.utime(path, (350, 350))
    assert newest_whole_checkpoint(folder) == path


def test_one_that_would_run_code_is_refused_and_not_passed_over(
    folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "touched"
    content = torch.load(folder / "iter_10.pth", weights_only=False)
    content["optimizer"]["state"][0]["extra"] = Malicious(target)
    torch.save(content, folder / "iter_10.pth")
    with pytest.raises(RefusedCheckpoint, match="mkdir"):
        newest_whole_checkpoint(folder)
    assert not target.exists()
    assert newest_whole_checkpoint(folder, trust=True) == folder / "iter_10.pth"
    assert target.exists()


def test_checkpoints_may_have_a_folder_of_their_own() -> None:
    assert checkpoint_folder(Config(dict(work_dir="runs/a"))) == Path("runs/a")
    without = dict(checkpoint=None)
    assert checkpoint_folder(Config(dict(work_dir="a", default_hooks=without))) == Path("a")
    hooks = dict(checkpoint=dict(type="CheckpointHook", out_dir="/big"))
    assert checkpoint_folder(Config(dict(work_dir="runs/a", default_hooks=hooks))) == Path("/big/a")


def test_names_and_folders_are_those_of_the_checkpoint_hook(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "big" / "a"
    out.mkdir(parents=True)
    shutil.copy(folder / "iter_2.pth", out / "step_000002.pth")
    shutil.copy(folder / "iter_2.pth", out / "step_000003.pth")
    os.utime(out / "step_000003.pth", (50, 50))  # of a run before
    work_dir = tmp_path / "a"
    work_dir.mkdir()
    (work_dir / "last_checkpoint").write_text(str(out / "step_000002.pth"))
    hook = dict(out_dir=str(tmp_path / "big"), filename_tmpl="step_{:06d}.pth")
    cfg = Config(dict(work_dir=str(work_dir), default_hooks=dict(checkpoint=hook)))
    assert newest_checkpoint_of(cfg) == out / "step_000002.pth"
    assert newest_checkpoint_of(Config(dict(work_dir=str(folder)))) == folder / "iter_10.pth"
