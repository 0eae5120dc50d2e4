"""Data sets: drawn shapes, and label files of any size and palette."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from mmseg_pointrend.datasets import CamVidDataset, ShapesDataset
from mmseg_pointrend.datasets.drawing import render_shapes

from .examples import holds_for

LOAD = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
seeds = st.integers(0, 2**32 - 1)


@holds_for(60, st.integers(0, 2**63 - 1), st.integers(0, 10**6), *[st.integers(32, 90)] * 2)
def test_shapes_are_images_with_six_classes(seed: int, index: int, height: int, width: int) -> None:
    dataset = ShapesDataset((height, width), index + 1, seed, indices=[index], pipeline=LOAD)
    item = dataset[0]
    image, label = render_shapes(seed, index, (height, width))
    assert image.shape == (height, width, 3)
    assert image.dtype == label.dtype == np.uint8
    assert label.max() < len(dataset.metainfo["classes"])
    np.testing.assert_array_equal(item["inputs"].permute(1, 2, 0).numpy(), image)
    np.testing.assert_array_equal(item["data_samples"].gt_sem_seg.data[0].numpy(), label)


@st.composite
def label_files(draw: st.DrawFn) -> tuple[np.ndarray, Image.Image]:
    """Labels, (H, W), and a picture that holds them: grey, or with a palette of any colors."""
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.integers(2, 60)), draw(st.integers(2, 60))  # MMSegmentation squeezes labels
    colors = draw(st.sampled_from([2, 4, 12, 16, 256]))
    labels = rng.integers(0, colors, shape).astype(np.uint8)
    picture = Image.fromarray(labels)
    if draw(st.booleans()):
        picture.putpalette(rng.integers(0, 256, 3 * colors).astype(np.uint8).tobytes())
    return labels, picture


@holds_for(
    150, label_files(), st.sampled_from([dict(), dict(optimize=True), dict(bits=8)]), st.booleans()
)
def test_label_files_are_indices_whatever_their_colors(
    label_file: tuple[np.ndarray, Image.Image], options: dict, test_mode: bool
) -> None:
    labels, picture = label_file
    with tempfile.TemporaryDirectory() as root:
        prefix = dict(img_path="images", seg_map_path="annotations")
        for folder in prefix.values():
            (Path(root) / folder).mkdir()
        Image.new("RGB", picture.size).save(Path(root) / "images" / "a b.ü.jpg")
        picture.save(Path(root) / "annotations" / "a b.ü.png", **options)
        dataset = CamVidDataset(
            data_root=root, data_prefix=prefix, pipeline=LOAD, test_mode=test_mode
        )
        item = dataset[0]
    assert item["inputs"].shape == (3, *labels.shape)
    expected = np.where(labels == 11, 255, labels)
    np.testing.assert_array_equal(item["data_samples"].gt_sem_seg.data[0].numpy(), expected)


@holds_for(60, st.permutations(CamVidDataset.METAINFO["classes"]), st.data())
def test_classes_in_any_order(classes: list[str], data: st.DataObject) -> None:
    kept = classes[: data.draw(st.integers(1, len(classes)))]
    mapping = CamVidDataset.get_label_map(kept)
    for old, name in enumerate(CamVidDataset.METAINFO["classes"]):
        assert mapping.get(old, old) == (kept.index(name) if name in kept else 255)
    assert mapping[11] == 255
    assert set(mapping) <= set(range(12))
