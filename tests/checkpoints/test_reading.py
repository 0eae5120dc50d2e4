import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malice import KINDS, Malicious, spoil
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from mmseg_pointrend.checkpoints.reading import checkpoints_as_data, read_checkpoint
from mmseg_pointrend.errors import InputError

WEIGHTS = dict(weight=torch.ones(2, 3), bias=torch.zeros(2))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Net(BaseModule):
    """A single layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)


class HiddenGetattr:
    """Looks up a function by getattr, as a pickled HistoryBuffer does with its own methods."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner = owner
        self.name = name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server of the folder tmp_path/www; downloads go to tmp_path/hub."""
    (tmp_path / "www").mkdir()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    handler = partial(QuietHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file with the weights of a Net."""
    path = tmp_path / "net.pth"
    torch.save(dict(state_dict=Net().state_dict()), path)
    return path


def check_loads(address: str | Path, weights: Path) -> None:
    """Load the weights in the ways that MMEngine has, and compare."""
    expected = torch.load(weights)["state_dict"]
    net, layer = Net(), nn.Linear(2, 3)
    load_checkpoint(net, str(address), map_location="cpu")
    PretrainedInit(str(address), prefix="layer")(layer)
    torch.testing.assert_close(dict(net.state_dict()), dict(expected))
    torch.testing.assert_close(layer.weight, expected["layer.weight"])


def test_mmengine_loads_files_and_downloads(server: str, weights: Path, tmp_path: Path) -> None:
    shutil.copy(weights, tmp_path / "www")
    with checkpoints_as_data():
        check_loads(weights, weights)
        check_loads(f"{server}/net.pth", weights)
    assert read_checkpoint(f"{server}/net.pth").keys() == {"state_dict"}


def test_reading_changes_nothing_for_later_readers(checkpoint: Path) -> None:
    before, load = set(torch.serialization.get_safe_globals()), torch.load
    with ThreadPoolExecutor(4) as pool:  # all at the same time
        assert all(pool.map(read_checkpoint, [checkpoint] * 8))
    assert set(torch.serialization.get_safe_globals()) == before
    assert torch.load is load


def test_what_was_trusted_before_stays_so(checkpoint: Path, trusted_mmengine: None) -> None:
    assert read_checkpoint(checkpoint).keys() == torch.load(checkpoint, weights_only=True).keys()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"PK\x03\x04 not a zip",
        b"\x80\x02.",
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pth is not a whole checkpoint") as error:
        read_checkpoint(path)
    # PyTorch's advice is to switch the protection off
    assert "weights_only" not in str(error.value)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_whatever_end_in_another_error(
    tmp_path: Path, content: bytes, pickled: bool
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\x80\x02" + content if pickled else content)
    with pytest.raises(InputError):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path)["state_dict"].keys() == WEIGHTS.keys()
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="not a whole checkpoint"):
            read_checkpoint(path)


def test_what_cannot_be_fetched_is_named(server: str, tmp_path: Path) -> None:
    gone = (tmp_path / "gone.pth", f"{server}/gone.pth", "http://127.0.0.1:9/gone.pth")
    for path in (*gone, tmp_path):
        with pytest.raises(InputError, match=rf"{path} cannot be read as a checkpoint"):
            read_checkpoint(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["file", "web", "zoo"])
def test_code_is_refused_wherever_it_comes_from(
    server: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    kind: str,
) -> None:
    target = tmp_path / "touched"
    path = spoil(checkpoint, tmp_path / "www" / "bad.pth", target, kind)
    address = str(path) if place == "file" else f"{server}/bad.pth"
    if place == "zoo":
        zoo = {"a": address}
        monkeypatch.setattr(mmengine_checkpoint, "get_torchvision_models", lambda: zoo)
        address = "torchvision://a"
    for load in (partial(load_checkpoint, Net()), lambda name: PretrainedInit(name)(Net())):
        with checkpoints_as_data(), pytest.raises(InputError) as error:
            load(address)
        assert "is refused" in str(error.value) or kind == "pickle"
        assert "bad.pth" in str(error.value)
        assert not target.exists()
    if kind != "pickle":  # torch.load reads no plain pickles at all
        with checkpoints_as_data(trust=True):
            load_checkpoint(Net(), address)
        assert target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_refusal_names_the_code(tmp_path: Path, zipped: bool) -> None:
    path, target = tmp_path / "model.pth", tmp_path / "touched"
    content = dict(state_dict=WEIGHTS, extra=Malicious(target))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=rf"is refused: .*{os.mkdir.__module__}\.mkdir"):
        read_checkpoint(path)
    assert not target.exists()
    read_checkpoint(path, trust=True)
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
        read_checkpoint(path)


def test_blocks_of_several_threads_do_not_mix(tmp_path: Path, checkpoint: Path) -> None:
    """One that trusts, around and across one that does not, in whatever order they end."""
    before = torch.load
    path = spoil(checkpoint, tmp_path / "bad.pth", tmp_path / "touched")

    def refuses() -> None:
        with checkpoints_as_data(), pytest.raises(InputError, match="is refused"):
            CheckpointLoader.load_checkpoint(str(path))

    outer, inner = checkpoints_as_data(trust=True), checkpoints_as_data()
    with ThreadPoolExecutor(1) as other_thread:
        outer.__enter__()
        other_thread.submit(refuses).result()
        assert other_thread.submit(torch.load, path, weights_only=False).result()  # no block
        (tmp_path / "touched").rmdir()
        other_thread.submit(inner.__enter__).result()
        CheckpointLoader.load_checkpoint(str(path))
        outer.__exit__(None, None, None)
        assert torch.load is not before
        other_thread.submit(inner.__exit__, None, None, None).result()
    assert torch.load is before
