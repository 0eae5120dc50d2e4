from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_pointrend import ShapesDataset
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inferencer import PointRendInferencer


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
    torch.save(inferencer.model.state_dict(), bare)
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
    mean, std = inferencer.model.data_preprocessor.mean, inferencer.model.data_preprocessor.std
    with torch.no_grad():
        logits = inferencer.model(((pixels - mean) / std).unsqueeze(0), mode="predict")
    assert np.array_equal(labels, logits[0].pred_sem_seg.data[0].numpy())


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
    assert explanation.coarse.shape == image.shape[:2]
    np.testing.assert_array_equal(explanation.labels, inferencer.segment(image))


def test_points_lie_in_the_image_where_labels_may_change(
    tiny_config: Path, checkpoint: Path, image: np.ndarray
) -> None:
    points = {"model.decode_head.renderer.subdivision_num_points": 37}
    inferencer = build(tiny_config, checkpoint, **points)
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
    """All cells of the last grid are chosen; with padding, those beyond the image lie outside."""
    overrides = {
        "model.data_preprocessor.test_cfg": dict(size_divisor=32),
        "model.decode_head.renderer.subdivision_num_points": 64 * 64,
        "model.decode_head.align_corners": align_corners,
    }
    explanation = build(tiny_config, checkpoint, **overrides).explain(image)
    last = explanation.steps[-1]
    assert last.grid == (64, 64)
    cells = {tuple(point) for point in np.floor(last.xy).astype(int).tolist()}
    assert cells == {(x, y) for x in range(64) for y in range(64)}
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
    with pytest.raises(InputError, match="FPNHead has no points"):
        inferencer.explain(image)


def test_a_checkpoint_that_does_not_fit_is_refused(tiny_config: Path, checkpoint: Path) -> None:
    wider = {"model.decode_head.channels": 12}
    with pytest.raises(InputError, match=r"point_head\.fcs\.0\.conv\.weight is 8x"):
        build(tiny_config, checkpoint, **wider)
    cfg = Config.fromfile(tiny_config)
    cfg.merge_from_dict(wider)
    assert PointRendInferencer(cfg, checkpoint, device="cpu", allow_partial=True)
