import http.server
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from malice import KINDS, spoil
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmseg_pointrend.checkpoints.loading import checkpoints_as_data
from torch import nn

from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.checkpoints.reading import RefusedCheckpoint
from mmseg_pointrend.errors import InputError


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Net(BaseModule):
    """A single layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)


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


def test_loads_files(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(weights.parent))
    with checkpoints_as_data():
        check_loads(weights, weights)
        check_loads("~/net.pth", weights)


def test_loads_downloads_once(server: str, weights: Path, tmp_path: Path) -> None:
    shutil.copy(weights, tmp_path / "www")
    with checkpoints_as_data():
        check_loads(f"{server}/net.pth", weights)
        (tmp_path / "www" / "net.pth").unlink()
        check_loads(f"{server}/net.pth?key=1", weights)
    assert read_checkpoint(f"{server}/net.pth").keys() == {"state_dict"}
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == ["net.pth"]


def test_loads_from_model_zoos(
    server: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(weights, tmp_path / "www")
    zoo = {"net": f"{server}/net.pth", "local": "net.pth"}
    for name in ("get_torchvision_models", "get_external_models", "get_mmcls_models"):
        monkeypatch.setattr(mmengine_checkpoint, name, lambda: zoo)
    monkeypatch.setattr(mmengine_checkpoint, "get_deprecated_model_names", lambda: {"old": "net"})
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    with checkpoints_as_data():
        for name in ("torchvision://net", "open-mmlab://old", "openmmlab://local"):
            check_loads(name, weights)
        with pytest.raises(InputError, match="torchvision has no model of that name"):
            check_loads("torchvision://other", weights)
        # their backbones lie under a prefix that is taken off
        torch.save({"state_dict": {"backbone.w": torch.ones(1)}}, tmp_path / "www" / "net2.pth")
        zoo["net"] = f"{server}/net2.pth"
        loaded = CheckpointLoader.load_checkpoint("mmcls://net")
        assert loaded["state_dict"].keys() == {"w"}


def test_other_content_than_weights_is_for_those_who_ask(tmp_path: Path) -> None:
    torch.save(dict(model=dict(w=torch.ones(1))), tmp_path / "official.pth")
    with checkpoints_as_data():
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / "official.pth"))
    assert loaded.keys() == {"model"}


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
        assert isinstance(error.value, RefusedCheckpoint) or kind == "pickle"
        assert "bad.pth" in str(error.value)
        assert "\n" not in str(error.value)
        assert not target.exists()
    if kind != "pickle":  # torch.load reads no plain pickles at all
        with checkpoints_as_data(trust=True):
            load_checkpoint(Net(), address)
        assert target.exists()


def test_what_cannot_be_fetched_is_one_line(server: str, tmp_path: Path) -> None:
    (tmp_path / "www" / "page.pth").write_text("<html>sign in</html>")
    (tmp_path / "www" / "half.pth").write_bytes(b"PK\x03\x04 half")
    for address, message in (
        (f"{server}/gone.pth", "cannot be downloaded to .*gone.pth .*404"),
        ("http://127.0.0.1:9/x.pth", "cannot be downloaded"),
        (f"{server}/", "is not the address of a file"),
        (f"{server}/page.pth", "is not a whole checkpoint.* Remove .*page.pth"),
        (f"{server}/half.pth", "is not a whole checkpoint.* Remove .*half.pth"),
        ("ftp://127.0.0.1/x.pth", "cannot be read from ftp://"),
        ("pavi://x.pth", "cannot be read from pavi://"),
        ("s3://bucket/x.pth", "cannot be read from s3://"),
        (str(tmp_path / "gone.pth"), "no such checkpoint file"),
    ):
        with checkpoints_as_data(), pytest.raises(InputError, match=message) as error:
            CheckpointLoader.load_checkpoint(address)
        assert "\n" not in str(error.value)


def test_nothing_is_changed_outside_of_the_block(weights: Path) -> None:
    before = dict(CheckpointLoader._schemes)
    with pytest.raises(InputError), checkpoints_as_data():
        CheckpointLoader.load_checkpoint("gone.pth")
    assert CheckpointLoader._schemes == before


def test_loaders_of_users_stay() -> None:
    @CheckpointLoader.register_scheme(prefixes="ours://")
    def load_from_ours(filename: str, map_location: str | None = None) -> str:
        return filename

    with checkpoints_as_data():
        assert CheckpointLoader.load_checkpoint("ours://x") == "ours://x"


def test_blocks_of_several_threads_do_not_mix(tmp_path: Path, checkpoint: Path) -> None:
    """One that trusts, around and across one that does not, in whatever order they end."""
    before = CheckpointLoader._schemes
    path = spoil(checkpoint, tmp_path / "bad.pth", tmp_path / "touched")

    def refuses() -> None:
        with checkpoints_as_data(), pytest.raises(RefusedCheckpoint):
            CheckpointLoader.load_checkpoint(str(path))

    outer, inner = checkpoints_as_data(trust=True), checkpoints_as_data()
    with ThreadPoolExecutor(1) as other_thread:
        outer.__enter__()
        other_thread.submit(refuses).result()
        other_thread.submit(inner.__enter__).result()
        CheckpointLoader.load_checkpoint(str(path))
        outer.__exit__(None, None, None)
        assert CheckpointLoader._schemes is not before
        other_thread.submit(inner.__exit__, None, None, None).result()
    assert CheckpointLoader._schemes is before
