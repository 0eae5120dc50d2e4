import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.engine.resuming import newest_whole_checkpoint
from mmseg_pointrend.engine.saving import WholeFileBackend
from mmseg_pointrend.errors import InputError

ROOT = Path(__file__).parents[2]

Tool = Callable[..., None]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A disk that is full from the file on whose name is set as ``full_at``; notes what happens."""
    state: dict[str, Any] = dict(full_at=None, events=[])
    replace, unlink, sync = os.replace, Path.unlink, os.fsync

    def full_or_sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if state["full_at"] is not None and state["full_at"] in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    def noted_replace(source: Any, target: Any) -> None:
        replace(source, target)
        state["events"].append(("whole", Path(target).name))

    def noted_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and path.suffix == ".pth":
            state["events"].append(("removed", path.name))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", full_or_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(Path, "unlink", noted_unlink)
    return state


def test_a_file_changes_at_once_or_not_at_all(tmp_path: Path, disk: dict[str, Any]) -> None:
    path = tmp_path / "folder" / "model.pth"
    WholeFileBackend().put(b"old", path)
    assert path.read_bytes() == b"old"
    disk["full_at"] = "model.pth"
    with pytest.raises(InputError, match=r"model\.pth: cannot be written \(No space left") as error:
        WholeFileBackend().put(b"new", path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"old"
    assert files(path.parent) == ["model.pth"]


def test_old_checkpoints_go_when_the_new_one_is_whole(
    run_tool: Tool, tiny_config: Path, tmp_path: Path, disk: dict[str, Any]
) -> None:
    options = ("train_cfg.max_iters=3", "train_cfg.val_interval=1")
    hook = ("default_hooks.checkpoint.max_keep_ckpts=1", "default_hooks.checkpoint.save_best=mIoU")
    run_tool("train", tiny_config, "--work-dir", tmp_path, "--cfg-options", *options, *hook)
    events = disk["events"]
    for number in (2, 3):
        new, old = ("whole", f"iter_{number}.pth"), ("removed", f"iter_{number - 1}.pth")
        assert events.index(new) < events.index(old)
    best = [event for event in events if event[1].startswith("best_")]
    assert best[0] == ("whole", "best_mIoU_iter_1.pth")
    # each best one is whole before the one before it goes
    assert [kind for kind, _ in best[1:]] == ["whole", "removed"] * (len(best) // 2)
    newest_best = [name for kind, name in best if kind == "whole"][-1]
    assert [name for name in files(tmp_path) if name.endswith(".pth")] == [
        newest_best,
        "iter_3.pth",
    ]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_3.pth")


def test_a_full_disk_leaves_the_earlier_checkpoints(
    run_tool: Tool, tiny_config: Path, tmp_path: Path, disk: dict[str, Any]
) -> None:
    options = (
        "--cfg-options",
        "train_cfg.max_iters=3",
        "default_hooks.checkpoint.max_keep_ckpts=1",
    )
    disk["full_at"] = "iter_2.pth"
    with pytest.raises(SystemExit) as error:
        run_tool("train", tiny_config, "--work-dir", tmp_path, *options)
    message = error.value.code
    assert message.startswith("error: ")
    assert "\n" not in message
    assert "iter_2.pth: cannot be written (No space left on device)" in message
    assert files(tmp_path) == ["iter_1.pth", "last_checkpoint", "tiny.py"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_1.pth")
    assert read_checkpoint(tmp_path / "iter_1.pth")["meta"]["iter"] == 1

    disk["full_at"] = "last_checkpoint"
    with pytest.raises(SystemExit, match="last_checkpoint: cannot be written"):
        run_tool("train", tiny_config, "--work-dir", tmp_path, "--resume", *options)
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_1.pth")
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "iter_2.pth"

    disk["full_at"] = None
    run_tool("train", tiny_config, "--work-dir", tmp_path, "--resume", *options)
    assert files(tmp_path) == ["iter_3.pth", "last_checkpoint", "tiny.py"]


def test_leftovers_of_a_killed_run_are_removed(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    leftover = tmp_path / ".iter_7.pth.0123abcd.partial"
    leftover.write_bytes(b"half")
    (tmp_path / "notes.partial").write_text("of the user")
    run_tool("train", tiny_config, "--work-dir", tmp_path)
    assert not leftover.exists()
    assert (tmp_path / "notes.partial").exists()


def test_configs_with_mmengines_hook_and_loop_get_ours(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    options = (
        "train_cfg.type=mmengine.IterBasedTrainLoop",
        "default_hooks.checkpoint.type=CheckpointHook",
    )
    run_tool("train", tiny_config, "--work-dir", tmp_path, "--cfg-options", *options)
    dumped = Config.fromfile(tmp_path / "tiny.py")
    assert dumped.train_cfg.type == "ResumableTrainLoop"
    assert dumped.default_hooks.checkpoint.type == "WholeCheckpointHook"


def test_a_run_may_do_without_checkpoints(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.py").write_text(
        f'_base_ = "{tiny_config}"\ndefault_hooks = dict(_delete_=True, checkpoint=None)\n'
    )
    run_tool("train", "none.py", "--work-dir", tmp_path / "run")
    assert not [*(tmp_path / "run").glob("*.pth")]


def test_a_real_limit_of_the_system(tiny_config: Path, tmp_path: Path, checkpoint: Path) -> None:
    limit = checkpoint.stat().st_size // 2  # logs fit, checkpoints do not
    command = [sys.executable, ROOT / "tools/train.py", tiny_config, "--work-dir", tmp_path]
    done = subprocess.run(
        [*command, "--cfg-options", "train_cfg.val_interval=9"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "iter_1.pth: cannot be written (File too large)" in last
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == ["tiny.py"]
