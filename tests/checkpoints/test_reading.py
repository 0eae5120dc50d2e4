import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malice import Malicious
from mmengine.logging import HistoryBuffer

from mmseg_pointrend.checkpoints.reading import RefusedCheckpoint, read_data
from mmseg_pointrend.errors import InputError

WEIGHTS = dict(weight=torch.ones(2, 3), bias=torch.zeros(2))


class HiddenGetattr:
    """Looks up a function by getattr, as a pickled HistoryBuffer does with its own methods."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner = owner
        self.name = name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


def test_reading_changes_nothing_for_later_readers(checkpoint: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read_data(checkpoint)
    assert set(torch.serialization.get_safe_globals()) == before


def test_what_was_trusted_before_stays_so(checkpoint: Path, trusted_mmengine: None) -> None:
    read_data(checkpoint)
    assert torch.load(checkpoint, weights_only=True).keys() == read_data(checkpoint).keys()


def test_threads_read_at_the_same_time(checkpoint: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read_data, [checkpoint] * 8))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"hello\nthis is text",
        b"PK\x03\x04 not a zip",
        b"\x80\x02.",
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_data(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert "not a whole checkpoint" in message
    # PyTorch's advice is to switch the protection off
    assert "weights_only" not in message


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_whatever_end_in_another_error(
    tmp_path: Path, content: bytes, pickled: bool
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\x80\x02" + content if pickled else content)
    with pytest.raises(InputError):
        read_data(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    assert read_data(path).keys() == WEIGHTS.keys()
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="not a whole checkpoint"):
            read_data(path)


def test_a_missing_checkpoint_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pth", tmp_path):
        with pytest.raises(InputError, match="no such checkpoint file"):
            read_data(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "touched"
    path = tmp_path / "model.pth"
    content = dict(state_dict=WEIGHTS, extra=Malicious(target))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        RefusedCheckpoint, match=rf"is refused: .*{os.mkdir.__module__}\.mkdir"
    ) as error:
        read_data(path)
    assert "weights_only" not in str(error.value)
    assert not target.exists()
    read_data(path, trust=True)
    assert target.exists()


@pytest.mark.parametrize(
    ("owner", "name"), [(HistoryBuffer, "__init__"), (torch.Tensor, "mean"), (dict, "fromkeys")]
)
def test_getattr_reaches_only_the_methods_of_the_log(
    tmp_path: Path, owner: type, name: str
) -> None:
    path = tmp_path / "model.pth"
    torch.save(dict(state_dict={}, extra=HiddenGetattr(owner, name)), path)
    with pytest.raises(InputError, match="is refused"):
        read_data(path)
