"""What a point head that is always right would give: the ceiling of rendering.

    python -m benchmarks.ceiling CONFIG CHECKPOINT --points 660 1320 2640

The coarse logits of a trained coarse model are rendered with the true labels at the points.
"""

import argparse
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmseg.registry import DATASETS
from torch import Tensor
from torch.nn import functional as F

from benchmarks.posthoc import score
from mmseg_pointrend import DenseRenderer, PointRendInferencer
from mmseg_pointrend.errors import one_line_errors

# Logit of a label that is known: larger than those of coarse heads.
CERTAIN = 100.0


def render_truth(coarse_logits: Tensor, truth: Tensor, num_points: int) -> Tensor:
    """Labels, (H, W), of coarse logits, (1, C, h, w), with the truth, (H, W), at the points.

    Where the truth is 255 the points keep the coarse logits.
    """
    classes = coarse_logits.shape[1]
    known = truth < classes
    one_hot = F.one_hot(truth.where(known, 0), classes).float() * known.unsqueeze(-1)
    levels = torch.cat((one_hot, (~known).unsqueeze(-1).float()), dim=-1).permute(2, 0, 1)

    def answer(fine: Tensor, coarse: Tensor) -> Tensor:
        return CERTAIN * fine[:, :classes] + fine[:, classes:] * coarse

    renderer = DenseRenderer(subdivision_num_points=num_points)
    logits = renderer(coarse_logits, levels.unsqueeze(0), answer, size=tuple(truth.shape))
    return logits.argmax(dim=1).squeeze(0)


def scenes(config: Config, checkpoint: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Coarse logits and truth, padded as the config says, of each validation image."""
    model = PointRendInferencer(config, checkpoint).predictor.model
    dataset = DATASETS.build(config.val_dataloader.dataset)
    for index in range(len(dataset)):
        sample = dataset[index]
        truth = sample["data_samples"].gt_sem_seg.data.squeeze(0).long()
        batch = dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]])
        with torch.no_grad():
            inputs = model.data_preprocessor(batch, False)["inputs"]
            logits = model.decode_head(model.extract_feat(inputs))
        height, width = inputs.shape[-2:]
        yield (
            logits,
            F.pad(truth, (0, width - truth.shape[1], 0, height - truth.shape[0]), value=255),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", help="config of a coarse model")
    parser.add_argument("checkpoint", help="its checkpoint")
    parser.add_argument("--points", type=int, nargs="+", default=[660, 1320, 2640])
    args = parser.parse_args()
    with one_line_errors():
        config = Config.fromfile(args.config)
        images = [*scenes(config, args.checkpoint)]
        classes = DATASETS.get(config.val_dataloader.dataset.type).METAINFO["classes"]
        for number in args.points:
            pairs = ((render_truth(*image, number), image[1]) for image in images)
            print(number, {name: round(value, 2) for name, value in score(pairs, classes).items()})


if __name__ == "__main__":
    main()
