"""Comparing files with what they were made from."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
from exporting import picture

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export.onnx_file import Exported, verify


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), picture(40, 50))
    return path


def test_all_installed_runtimes_agree(
    exported: Exported, image_file: Path, capsys: pytest.CaptureFixture
) -> None:
    verify(exported, [image_file])
    printed = capsys.readouterr().out
    runtimes = ["PyTorch", "ONNX Runtime", *(["OpenVINO"] if find_spec("openvino") else [])]
    for size in ("50x40", "31x25", "65x53", "101x81"):
        assert printed.count(size) == len(runtimes)
    for runtime in runtimes:
        assert printed.count(runtime) == 4
    assert printed.count("100.0000%") == 4 * len(runtimes)


def test_images_come_at_the_size_of_the_graph(
    exported: Exported, image_file: Path, capsys: pytest.CaptureFixture
) -> None:
    verify(exported._replace(size=(30, 70)), [image_file])
    printed = capsys.readouterr().out
    assert printed.count("70x30") == printed.count("100.0000%") > 0


def test_images_are_loaded_as_the_config_says(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        verify(exported, [tmp_path / "missing.png"])


def test_other_labels_are_refused(exported: Exported, image_file: Path) -> None:
    graph = exported.graph
    flipped = exported._replace(graph=lambda images: tuple(x.flip(-1) for x in graph(images)))
    with pytest.raises(
        InputError, match=r"model\.onnx must give .* in ONNX Runtime on .*image\.png"
    ):
        verify(flipped, [image_file])
