from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import MODELS
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.inferencer import PointRendInferencer
from mmseg_pointrend.inference.prediction import predict_files
from mmseg_pointrend.inference.tiling import Tiling


@pytest.fixture(scope="module")
def inferencer(tiny_config: Path, checkpoint: Path) -> PointRendInferencer:
    return PointRendInferencer(Config.fromfile(tiny_config), checkpoint, device="cpu")


@pytest.fixture
def folder(tmp_path: Path, image: np.ndarray) -> Path:
    """Two images and a third below."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    pixels = Image.fromarray(image[..., ::-1])
    pixels.save(folder / "a.png")
    pixels.resize((30, 70)).save(folder / "b.jpg")
    pixels.save(folder / "sub" / "a.png")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def indices(path: Path) -> np.ndarray:
    with Image.open(path) as mask:
        assert mask.mode == "P"
        return np.asarray(mask)


def test_masks_have_indices_palette_and_the_images_own_size(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict_files(inferencer, [str(folder)], out) == []
    masks = {"a", "b", "sub/a"}
    assert names(out) == {f"{n}.png" for n in masks} | {f"{n}_overlay.jpg" for n in masks}
    for name, source in (("a", "a.png"), ("b", "b.jpg"), ("sub/a", "sub/a.png")):
        image = read_image(folder / source)
        labels = inferencer.segment(image)
        np.testing.assert_array_equal(indices(out / f"{name}.png"), labels)
        assert labels.shape == image.shape[:2]
        assert read_image(out / f"{name}_overlay.jpg").shape == image.shape
    with Image.open(out / "a.png") as mask:
        assert mask.getpalette()[:18] == np.ravel(inferencer.palette).tolist()


def test_files_folders_and_patterns(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    predict_files(inferencer, [str(folder / "b.jpg")], tmp_path / "file")
    assert names(tmp_path / "file") == {"b.png", "b_overlay.jpg"}
    predict_files(inferencer, [str(folder / "?.*")], tmp_path / "glob")
    assert names(tmp_path / "glob") == {"a.png", "a_overlay.jpg", "b.png", "b_overlay.jpg"}
    with pytest.raises(InputError, match=r"gone\.png"):
        predict_files(inferencer, [str(folder / "gone.png")], tmp_path / "none")


def test_what_cannot_be_read_is_reported_and_the_others_are_done(
    inferencer: PointRendInferencer,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "copy[bold].png").write_bytes((folder / "a.png").read_bytes()[:200])
    out = tmp_path / "out"
    failures = predict_files(inferencer, [str(folder)], out)
    assert len(failures) == 3
    printed = capfd.readouterr().err
    for name in ("empty.png", "text.jpg", "copy[bold].png"):
        assert any(str(folder / name) in failure for failure in failures)
        # in one piece, whatever the width of the terminal and the characters of the name
        assert str(folder / name) in printed
    assert {name for name in names(out) if name.endswith(".png")} == {"a.png", "b.png", "sub/a.png"}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_an_image_that_the_model_cannot_bear_is_reported(
    error: Exception,
    batch_size: int,
    inferencer: PointRendInferencer,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = inferencer.predictor
    prepare = predictor.model.data_preprocessor.forward

    def out_of_memory(data: dict, training: bool = False) -> dict:
        if data["inputs"][0].shape[-2:] == (70, 30):
            raise error
        return prepare(data, training)

    monkeypatch.setattr(predictor.model.data_preprocessor, "forward", out_of_memory)
    failures = predict_files(inferencer, [str(folder)], tmp_path / "out", batch_size=batch_size)
    assert len(failures) == 1
    assert "b.jpg: not enough memory for an image of 30x70 pixels" in failures[0]
    assert {"a.png", "sub/a.png"} <= names(tmp_path / "out")


def test_a_mask_that_cannot_be_written_leaves_the_old_one(
    inferencer: PointRendInferencer,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    predict_files(inferencer, [str(folder)], out)
    before = {name: (out / name).read_bytes() for name in names(out)}
    save = Image.Image.save

    def full_disk(image: Image.Image, target: Path, *args: object, **settings: object) -> None:
        if "b.png" in target.name:
            target.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save(image, target, *args, **settings)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    failures = predict_files(inferencer, [str(folder)], out)
    assert len(failures) == 1
    assert "b.png" in failures[0]
    assert "No space left on device" in failures[0]
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_outputs_that_collide_or_overwrite_an_input_are_refused(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    before = (folder / "a.png").read_bytes()
    with pytest.raises(InputError, match="which is an input"):
        predict_files(inferencer, [str(folder)], folder)
    with pytest.raises(InputError, match="which is an input"):
        predict_files(inferencer, [str(folder / "a.png")], folder / "sub" / "..")
    assert (folder / "a.png").read_bytes() == before
    pair = [str(folder / "a.png"), str(folder / "sub")]
    with pytest.raises(InputError, match=r"sub/a\.png would be written to .*out/a\.png, which"):
        predict_files(inferencer, pair, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_named_like_a_strip_of_another_is_refused(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    (folder / "a_points.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(InputError, match=r"a_points\.png"):
        predict_files(inferencer, [str(folder)], tmp_path / "out", show_points=True)
    assert predict_files(inferencer, [str(folder)], tmp_path / "out") == []


def test_a_folder_that_cannot_be_made_fails_for_every_image(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    assert len(predict_files(inferencer, [str(folder)], tmp_path / "out")) == 3
    assert (tmp_path / "out").read_text() == "a file"


def test_show_points_adds_a_strip_and_changes_no_mask(
    inferencer: PointRendInferencer, folder: Path, tmp_path: Path
) -> None:
    predict_files(inferencer, [str(folder / "a.png")], tmp_path / "plain")
    predict_files(inferencer, [str(folder / "a.png")], tmp_path / "shown", show_points=True)
    added = names(tmp_path / "shown") - names(tmp_path / "plain")
    assert added == {"a_points.png"}
    assert read_image(tmp_path / "shown" / "a_points.png").std() > 0
    np.testing.assert_array_equal(
        indices(tmp_path / "shown" / "a.png"), indices(tmp_path / "plain" / "a.png")
    )


def own_images(tiny_config: Path, folder: Path, suffix: str, load: dict, channels: int) -> Config:
    """Config of a model that is tested on the images of a folder; random weights are beside it."""
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir, cfg.load_from = str(folder / "work"), str(folder / "random.pth")
    cfg.model.backbone.in_channels = channels
    cfg.model.data_preprocessor.update(mean=None, std=None)
    cfg.val_dataloader.dataset = dict(
        type="BaseSegDataset",
        data_root=str(folder / "in"),
        img_suffix=suffix,
        metainfo=dict(classes=list("abcdef"), palette=[[k, 0, 0] for k in range(6)]),
        test_mode=True,
        pipeline=[load, dict(type="PackSegInputs")],
    )
    cfg.test_dataloader = cfg.val_dataloader
    cfg.val_evaluator = dict(type="IoUMetric", format_only=True, output_dir=str(folder / "tested"))
    model = MODELS.build(cfg.model)
    model.decode_head.init_weights()
    torch.save({"state_dict": model.state_dict(), "meta": {}}, cfg.load_from)
    (folder / "in").mkdir()
    return cfg


@pytest.mark.usefixtures("fresh_runs")
@pytest.mark.parametrize("kind", ["rgb.tif", "12.npy"])
def test_masks_are_those_of_a_test(tiny_config: Path, tmp_path: Path, kind: str) -> None:
    """Channels in another order than OpenCV's, and floating-point bands."""
    rng, suffix = np.random.default_rng(0), Path(kind).suffix
    if suffix == ".tif":
        tifffile = pytest.importorskip("tifffile")
        load = dict(type="LoadImageFromFile", imdecode_backend="tifffile")
        images = rng.integers(0, 256, (3, 41, 53, 3), dtype=np.uint8)
        images[..., 0] //= 4
    else:
        load = dict(type="LoadImageFromNpyFile")
        images = rng.random((3, 41, 53, 12), dtype=np.float32)
    cfg = own_images(tiny_config, tmp_path, suffix, load, images.shape[-1])
    for k, image in enumerate(images):
        path = tmp_path / "in" / f"{k}{suffix}"
        tifffile.imwrite(path, image) if suffix == ".tif" else np.save(path, image)
    Runner.from_cfg(cfg).val()
    inferencer = PointRendInferencer(cfg, cfg.load_from, device="cpu")
    failures = predict_files(inferencer, [str(tmp_path / "in")], tmp_path / "out", batch_size=2)
    assert failures == []
    for k in range(3):
        labels = indices(tmp_path / "out" / f"{k}.png")
        with Image.open(tmp_path / "tested" / f"{k}.png") as tested:
            np.testing.assert_array_equal(labels, np.asarray(tested))
        assert len(np.unique(labels)) > 1
        assert read_image(tmp_path / "out" / f"{k}_overlay.jpg").shape == (41, 53, 3)
    # a graph, a window and a frame are color images of 8 bits
    with pytest.raises(InputError, match="--tile reads RGB images of 8 bits"):
        predict_files(inferencer, [str(tmp_path / "in")], tmp_path / "x", tiling=Tiling(64, 16))


def test_an_image_of_other_channels_is_reported(tiny_config: Path, tmp_path: Path) -> None:
    load = dict(type="LoadImageFromNpyFile")
    cfg = own_images(tiny_config, tmp_path, ".npy", load, channels=4)
    for channels in (4, 5):
        np.save(tmp_path / "in" / f"{channels}.npy", np.ones((20, 30, channels), np.float32))
    inferencer = PointRendInferencer(cfg, cfg.load_from, device="cpu")
    (failure,) = predict_files(inferencer, [str(tmp_path / "in")], tmp_path / "out")
    assert "5.npy: Images must have the model's 4 channels, got 5" in failure
    assert names(tmp_path / "out") == {"4.png", "4_overlay.jpg"}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_video_becomes_a_folder_of_masks(
    inferencer: PointRendInferencer, tmp_path: Path, batch_size: int
) -> None:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (48, 32))
    for k in range(5):
        writer.write(np.full((32, 48, 3), 50 * k, dtype=np.uint8))
    writer.release()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    inputs = [str(path), str(tmp_path / "broken.mp4")]
    (failure,) = predict_files(inferencer, inputs, tmp_path / "out", batch_size=batch_size)
    assert failure.endswith("broken.mp4: not a video that OpenCV can read.")
    assert names(tmp_path / "out") == {f"walk/{k:06d}.png" for k in range(5)}
    results = inferencer(path)
    for k, result in enumerate(results):
        labels = indices(tmp_path / "out" / "walk" / f"{k:06d}.png")
        np.testing.assert_array_equal(labels, result.labels)
        assert labels.shape == (32, 48)
    with pytest.raises(InputError, match=r"are for images, not for .*walk\.avi"):
        predict_files(inferencer, [str(path)], tmp_path / "out", tiling=Tiling(64, 16))
