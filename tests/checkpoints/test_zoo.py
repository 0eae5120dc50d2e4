import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmseg_pointrend.checkpoints import zoo
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.inferencer import PointRendInferencer

ROOT = Path(__file__).parents[2]


def test_names_of_the_zoo_are_configs() -> None:
    for path in [*ROOT.glob("configs/*.py"), *ROOT.glob("configs/retrofit/*.py")]:
        assert zoo.find_config(path.stem) == path
        assert zoo.find_config(path) == path


def test_a_name_that_is_unknown_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"nearest are pointrend_r50_cityscapes, \S+"):
        zoo.find_config("pointrend_r50_citiscapes")
    with pytest.raises(InputError, match="nearest are"):
        zoo.find_config("?")
    with pytest.raises(InputError, match="default_runtime: neither a file nor a model"):
        zoo.find_config("default_runtime")
    for name in ("gone.py", "folder/pointrend_r50_cityscapes"):
        with pytest.raises(InputError, match=f"{name}: no such config file"):
            PointRendInferencer(name)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and counts what it is asked for."""

    asked: int


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked += 1
        super().do_GET()

    def copyfile(self, source: object, target: object) -> None:
        # as when the line breaks: less than the header says
        target.write(source.read(self.server.most))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "www"))
    with Server(("127.0.0.1", 0), handler) as found:
        found.asked, found.most = 0, -1
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def published(
    server: Server,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A zoo whose model 'tiny' is served on this machine; gives the file that is served."""
    content = checkpoint.read_bytes()
    path = tmp_path / "www" / f"tiny_20260101-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.write_bytes(content)
    root = tmp_path / "zoo"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "tiny.py").write_text(tiny_config.read_text())
    (root / "configs" / "bare.py").write_text(tiny_config.read_text())
    weights = f"http://127.0.0.1:{server.server_port}/{path.name}"
    models = {"Models": [{"Name": "tiny", "Weights": weights}, {"Name": "bare"}]}
    (root / "configs" / "metafile.yaml").write_text(yaml.safe_dump(models))
    (root / "model-index.yml").write_text(yaml.safe_dump({"Import": ["configs/metafile.yaml"]}))
    monkeypatch.setattr(zoo, "ROOT", root)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    return path


def test_published_weights_are_fetched_once(
    published: Path, server: Server, checkpoint: Path, tiny_config: Path, image: np.ndarray
) -> None:
    labels = PointRendInferencer("tiny", device="cpu").segment(image)
    again = PointRendInferencer("tiny", device="cpu").segment(image)
    assert server.asked == 1
    np.testing.assert_array_equal(labels, again)
    given = PointRendInferencer(tiny_config, checkpoint, device="cpu").segment(image)
    np.testing.assert_array_equal(labels, given)


@pytest.mark.parametrize("broken", ["other", "short", "missing", "down"])
def test_a_file_that_does_not_come_whole_is_not_kept(
    published: Path, server: Server, broken: str, tmp_path: Path
) -> None:
    if broken == "other":
        published.write_bytes(b"x" + published.read_bytes()[1:])
    elif broken == "short":
        server.most = 1000
    elif broken == "missing":
        published.unlink()
    else:
        server.shutdown()
        server.server_close()
    with pytest.raises(InputError, match=r"tiny_20260101-\w+\.pth cannot be downloaded"):
        zoo.fetch_weights("tiny")
    assert not list((tmp_path / "cache").rglob("*.p*"))


def test_a_model_without_published_weights_needs_a_checkpoint(published: Path) -> None:
    with pytest.raises(InputError, match="bare: no weights of it are published"):
        PointRendInferencer("bare")
