from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_pointrend import LabelEncoderDecoder, ShapesDataset
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import write_picture
from mmseg_pointrend.inference.inferencer import PointRendInferencer


def build(config: Path, checkpoint: Path, **overrides: object) -> PointRendInferencer:
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(overrides)
    return PointRendInferencer(cfg, checkpoint, device="cpu")


def test_classes_and_palette_come_with_the_checkpoint(
    tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    inferencer = build(tiny_config, checkpoint)
    assert inferencer.classes == ShapesDataset.METAINFO["classes"]
    assert inferencer.palette == [list(color) for color in ShapesDataset.METAINFO["palette"]]
    bare = tmp_path / "bare.pth"
    torch.save(inferencer.predictor.model.state_dict(), bare)
    again = build(tiny_config, bare)
    assert again.classes == inferencer.classes
    assert again.palette == inferencer.palette


def test_segments_as_the_dataset_pipeline_does(
    tiny_config: Path, checkpoint: Path, image: np.ndarray
) -> None:
    inferencer = build(tiny_config, checkpoint)
    labels = inferencer.segment(image)
    assert labels.shape == image.shape[:2]
    assert labels.dtype == np.int64
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    model = inferencer.predictor.model
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    padded = torch.nn.functional.pad((pixels - mean) / std, (0, 11, 0, 23))  # 64x64
    height, width = image.shape[:2]
    meta = dict(ori_shape=(height, width), img_shape=(height, width), pad_shape=(64, 64))
    sample = SegDataSample(metainfo={**meta, "img_padding_size": (0, 11, 0, 23)})
    with torch.no_grad():
        (found,) = model.predict(padded.unsqueeze(0), [sample])
    assert np.array_equal(labels, found.pred_sem_seg.data[0].numpy())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"model.data_preprocessor.test_cfg": dict(size_divisor=32)},
        {"model.decode_head.renderer.subdivision_steps": 1},
        {"model.decode_head.align_corners": True},
        {"model.test_cfg": dict(mode="slide", crop_size=(32, 32), stride=(16, 16))},
    ],
)
def test_explains_the_very_labels_that_it_gives(
    tiny_config: Path, checkpoint: Path, image: np.ndarray, overrides: dict
) -> None:
    inferencer = build(tiny_config, checkpoint, **overrides)
    explanation = inferencer.explain(image)
    np.testing.assert_array_equal(explanation.labels, inferencer.segment(image))
    no_steps = {**overrides, "model.decode_head.renderer.subdivision_steps": 0}
    coarse = build(tiny_config, checkpoint, **no_steps).segment(image)
    np.testing.assert_array_equal(explanation.coarse, coarse)


def test_points_lie_in_the_image_where_labels_may_change(
    tiny_config: Path, checkpoint: Path, image: np.ndarray
) -> None:
    settings = {
        "model.decode_head.renderer.subdivision_num_points": 37,
        "model.data_preprocessor.test_cfg": None,
    }
    inferencer = build(tiny_config, checkpoint, **settings)
    explanation = inferencer.explain(image)
    grids = [step.grid for step in explanation.steps]
    assert grids == [(22, 28), (41, 53)]
    for step in explanation.steps:
        assert step.xy.shape == (37, 2)
        assert step.xy.dtype == np.float32
    # on the last grid, that of the image, they are pixel centers
    last = explanation.steps[-1].xy
    np.testing.assert_allclose(last % 1, 0.5, atol=1e-3)
    assert len(np.unique(last.round(1), axis=0)) == 37


@pytest.mark.parametrize("align_corners", [False, True])
def test_points_are_pixels_of_the_original_image(
    tiny_config: Path, checkpoint: Path, image: np.ndarray, align_corners: bool
) -> None:
    """All cells of the last grid are chosen; those of the padding are no pixels of the image."""
    overrides = {
        "model.data_preprocessor.test_cfg": dict(size_divisor=32),
        "model.decode_head.renderer.subdivision_num_points": 64 * 64,
        "model.decode_head.align_corners": align_corners,
    }
    explanation = build(tiny_config, checkpoint, **overrides).explain(image)
    last = explanation.steps[-1]
    assert last.grid == (64, 64)
    cells = {tuple(point) for point in np.floor(last.xy).astype(int).tolist()}
    assert cells == {(x, y) for x in range(image.shape[1]) for y in range(image.shape[0])}
    np.testing.assert_allclose(last.xy % 1, 0.5, atol=1e-3)


def test_corner_cells_lie_on_corner_pixels_where_corners_are_aligned(
    tiny_config: Path, checkpoint: Path
) -> None:
    overrides = {
        "model.decode_head.renderer.subdivision_num_points": 64 * 64,
        "model.decode_head.align_corners": True,
    }
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    first = build(tiny_config, checkpoint, **overrides).explain(image).steps[0]
    assert first.grid == (32, 32)
    np.testing.assert_allclose(first.xy.min(axis=0), 0.5, atol=1e-3)
    np.testing.assert_allclose(first.xy.max(axis=0), 63.5, atol=1e-3)


def test_a_model_without_points_has_none_to_explain(
    tiny_config: Path, tmp_path: Path, image: np.ndarray
) -> None:
    cfg = Config.fromfile(tiny_config)
    head = cfg.model.decode_head.coarse_head
    head.num_classes = 6
    cfg.model.decode_head = head
    path = tmp_path / "coarse.pth"
    torch.save(MODELS.build(cfg.model).state_dict(), path)
    inferencer = PointRendInferencer(cfg, path, device="cpu")
    assert inferencer.segment(image).shape == image.shape[:2]
    with pytest.raises(InputError, match="FPNHead has none to show"):
        inferencer.explain(image)


def test_a_checkpoint_that_does_not_fit_is_refused(tiny_config: Path, checkpoint: Path) -> None:
    wider = {"model.decode_head.channels": 12}
    with pytest.raises(InputError, match=r"point_head\.fcs\.0\.conv\.weight is 8x"):
        build(tiny_config, checkpoint, **wider)
    cfg = Config.fromfile(tiny_config)
    cfg.merge_from_dict(wider)
    assert PointRendInferencer(cfg, checkpoint, device="cpu", allow_partial=True)


@pytest.fixture
def inferencer(tiny_config: Path, checkpoint: Path) -> PointRendInferencer:
    return PointRendInferencer(tiny_config, checkpoint, device="cpu")


@pytest.fixture
def images(image: np.ndarray) -> list[np.ndarray]:
    """Five images of two sizes."""
    return [image, image[:30], image[::-1], 255 - image, image[:30, ::-1]]


def test_takes_paths_arrays_folders_patterns_and_generators(
    inferencer: PointRendInferencer, image: np.ndarray, tmp_path: Path
) -> None:
    expected = inferencer.segment(image)
    path = tmp_path / "in" / "a.png"
    write_picture(path, image)
    sources = [image, path, str(path), path.parent, str(path.parent / "*.png")]
    sources += [[path, image], (source for source in (image, str(path)))]
    for source in sources:
        found = inferencer(source)
        assert found
        for result in found:
            assert result.labels.dtype == np.int64
            np.testing.assert_array_equal(result.labels, expected)
            assert result.logits is None


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_batches_give_what_images_give_one_by_one(
    inferencer: PointRendInferencer, images: list[np.ndarray], batch_size: int
) -> None:
    found = inferencer(images, batch_size=batch_size)
    for image, result in zip(images, found, strict=True):
        np.testing.assert_array_equal(result.labels, inferencer.segment(image))


def test_logits_on_request(inferencer: PointRendInferencer, images: list[np.ndarray]) -> None:
    before = [inferencer.segment(image) for image in images]
    found = inferencer(images, batch_size=3, logits=True)
    for image, labels, result in zip(images, before, found, strict=True):
        np.testing.assert_array_equal(result.labels, labels)
        assert result.logits.shape == (6, *image.shape[:2])
        assert result.logits.dtype == np.float32
        np.testing.assert_array_equal(result.logits.argmax(axis=0), labels)
    # a model that was asked for logits goes on giving labels without building any
    assert isinstance(inferencer.predictor.model, LabelEncoderDecoder)


def test_reads_no_more_images_than_a_batch_has(
    inferencer: PointRendInferencer, image: np.ndarray
) -> None:
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield image

    results = inferencer.iterate(endless(), batch_size=2)
    assert read == 0
    for done in range(1, 6):
        next(results)
        assert read <= done + 1


def test_threads_give_what_one_gives(inferencer: PointRendInferencer, image: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (24 + k, 60 - k, 3), dtype=np.uint8) for k in range(16)]
    expected = [inferencer.segment_batch([image], logits=True)[0] for image in images]
    with ThreadPoolExecutor(8) as pool:
        ask = partial(inferencer.segment_batch, logits=True)
        rounds = [pool.submit(ask, [image]) for _ in range(3) for image in images]
        labels = [pool.submit(inferencer.segment, image) for _ in range(3) for image in images]
    for k, (full, alone) in enumerate(zip(rounds, labels, strict=True)):
        wanted = expected[k % len(images)]
        np.testing.assert_array_equal(full.result()[0].labels, wanted.labels)
        np.testing.assert_array_equal(full.result()[0].logits, wanted.logits)
        np.testing.assert_array_equal(alone.result(), wanted.labels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    inferencer: PointRendInferencer, wrong: np.ndarray
) -> None:
    for ask in (inferencer.segment, inferencer.explain, inferencer):
        with pytest.raises(InputError, match="An image must be an array"):
            ask(wrong)


def test_settings_that_make_no_sense_are_refused(
    tiny_config: Path, checkpoint: Path, inferencer: PointRendInferencer, image: np.ndarray
) -> None:
    with pytest.raises(InputError, match="batch_size must be an integer >= 1, got 0"):
        inferencer(image, batch_size=0)
    with pytest.raises(InputError, match="Device 'gpu7' cannot be used"):
        PointRendInferencer(tiny_config, checkpoint, device="gpu7")
    with pytest.raises(InputError, match="no weights of it are published"):
        PointRendInferencer(tiny_config)
    with pytest.raises(InputError, match="needs weights"):
        PointRendInferencer(Config.fromfile(tiny_config))
    with pytest.raises(InputError, match="nearest are"):
        PointRendInferencer("pointrend_r18_shape")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_types_give_nearly_the_same_labels(
    tiny_config: Path,
    checkpoint: Path,
    inferencer: PointRendInferencer,
    image: np.ndarray,
    dtype: str,
) -> None:
    other = PointRendInferencer(
        tiny_config, checkpoint, device="cpu", dtype=dtype, channels_last=True
    )
    assert (other.segment(image) == inferencer.segment(image)).mean() > 0.9
    assert next(other.predictor.model.backbone.conv1.parameters()).dtype == getattr(torch, dtype)


@pytest.mark.parametrize("kind", ["mmseg.LoadAnnotations", LoadAnnotations])
def test_steps_that_load_are_left_out(
    tiny_config: Path, checkpoint: Path, inferencer: PointRendInferencer, image: np.ndarray, kind
) -> None:
    loading = [dict(type="LoadImageFromFile"), dict(type=kind), dict(type="PackSegInputs")]
    other = build(tiny_config, checkpoint, **{"test_dataloader.dataset.pipeline": loading})
    np.testing.assert_array_equal(other.segment(image), inferencer.segment(image))


def test_a_renderer_of_ones_own_tells_no_points(
    inferencer: PointRendInferencer, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inferencer.predictor.model.decode_head, "renderer", print)
    with pytest.raises(InputError, match="a builtin_function_or_method has none to show"):
        inferencer.explain(image)


def test_logits_larger_than_the_image_are_brought_to_its_size(
    tiny_config: Path, checkpoint: Path, image: np.ndarray
) -> None:
    """As SETRUPHead's of whole patches; EncoderDecoder resizes those of other heads, too."""
    inferencer = build(tiny_config, checkpoint)
    head = inferencer.predictor.model.decode_head
    larger = torch.randn(1, 6, 48, 50)  # than 41 rows, not than 53 columns
    head.coarse_head.forward = lambda inputs: larger
    explanation = inferencer.explain(image)
    (result,) = inferencer.segment_batch([image], logits=True)
    assert result.logits.shape == (6, 41, 53)
    np.testing.assert_array_equal(explanation.labels, result.labels)
    assert (inferencer.segment(image) != result.labels).mean() < 0.001


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_labels_on_any_device(
    tiny_config: Path,
    checkpoint: Path,
    inferencer: PointRendInferencer,
    image: np.ndarray,
    device: str,
    dtype: str,
) -> None:
    other = PointRendInferencer(tiny_config, checkpoint, device=device, dtype=dtype)
    (result,) = other.segment_batch([image], logits=True)
    assert (result.labels == inferencer.segment(image)).mean() > 0.9
    assert (other.segment(image) == result.labels).mean() > 0.99
