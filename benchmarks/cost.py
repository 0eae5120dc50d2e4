"""What our recipe costs, against PointRend as published: python -m benchmarks.cost --out DIR

Both have weights of ``python -m benchmarks.camvid aspp_published aspp_standardized --out DIR``,
which share the frozen model. They label an image of CamVid, enlarged, with as many points for
its size as there, and take a training step of the point head, and one of the whole model.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import find_latest_checkpoint
from mmseg.registry import MODELS
from torch import Tensor, nn

from benchmarks.camvid import ASPP, PUBLISHED, ROOT
from benchmarks.measure import as_rows, compare, print_table
from benchmarks.model import as_batch
from benchmarks.train import random_sample, training_step
from mmseg_pointrend.checkpoints.fitting import load_weights
from mmseg_pointrend.config import read_config
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.inference.images import read_image

SIDES = {"published": ("aspp_published", PUBLISHED), "ours": ("aspp_standardized", {})}
CAMVID = (384, 480)  # of its images, padded
CROPS = (8, (256, 320))  # of a training step


def build(options: dict, checkpoint: str, size: tuple[int, int]) -> nn.Module:
    """A retrofit of the stride-16 model that labels images of ``size`` = (H, W)."""
    cfg = read_config(ROOT / f"configs/retrofit/retrofit_{ASPP}.py", options)
    cfg.model.backbone.pretrained = False
    cfg.model.data_preprocessor.test_cfg = None  # strides divide the image
    renderer = cfg.model.decode_head.renderer
    area = size[0] * size[1] / (CAMVID[0] * CAMVID[1])
    renderer.subdivision_num_points = round(area * renderer.subdivision_num_points)
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    return model


def build_whole(options: dict) -> nn.Module:
    """The recipe that trains all of the model, with random weights."""
    cfg = read_config(ROOT / f"configs/pointrend_{ASPP}.py", options)
    cfg.model.backbone.pretrained = False
    return MODELS.build(cfg.model)


def _labels(model: nn.Module, features: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
    metas = [dict(img_shape=size, pad_shape=size, ori_shape=size)]
    return model.decode_head.predict_labels(features, metas, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("work_dirs/experiments"))
    parser.add_argument("--image", default=ROOT / "data/camvid/images/val/0016E5_07959.jpg")
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    init_default_scope("mmseg")
    size, device = (args.height, args.width), torch.device("cpu")
    with one_line_errors():
        models = {}
        for side, (name, options) in SIDES.items():
            checkpoint = find_latest_checkpoint(str(args.out / name / "seed_0"))
            models[side] = build(options, checkpoint, size).eval()
        batch = as_batch(read_image(args.image), size)
        inputs = models["ours"].data_preprocessor(batch)["inputs"]
    with torch.no_grad():
        heads = {
            side: partial(_labels, model, model.extract_feat(inputs), size)
            for side, model in models.items()
        }
        print_table("decode head", as_rows(compare(heads, device, args.rounds)))
        whole = {
            side: lambda m=model: _labels(m, m.extract_feat(inputs), size)
            for side, model in models.items()
        }
        print_table("image to labels", as_rows(compare(whole, device, args.rounds)))
    count, crop = CROPS
    crops = torch.randn(count, 3, *crop), [random_sample(crop, 11, seed) for seed in range(count)]
    steps = {side: training_step(model.train(), *crops) for side, model in models.items()}
    print_table("training step of the point head", as_rows(compare(steps, device, args.rounds)))
    models = {side: build_whole(options).train() for side, (_, options) in SIDES.items()}
    steps = {side: training_step(model, *crops) for side, model in models.items()}
    print_table("training step of the whole model", as_rows(compare(steps, device, args.rounds)))


if __name__ == "__main__":
    main()
