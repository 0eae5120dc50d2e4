"""Retrofit every model of MMSegmentation's zoo: python -m benchmarks.zoo [--weights] [--json FILE]

Each distinct model (data, schedule and number of classes apart) is built on PyTorch's meta device,
with shapes and no numbers; its retrofit is written, built and run. With --weights one model of each
family has random weights instead, and its retrofit is proved as tools/retrofit.py does it.
"""

import argparse
import gc
import json
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmseg.registry import MODELS
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from mmseg_pointrend.config import parts, type_name
from mmseg_pointrend.engine.coarse_model import read_coarse_model, read_model_config
from mmseg_pointrend.engine.retrofit import write_config
from mmseg_pointrend.errors import InputError

ZOO = Path(str(files("mmseg"))) / ".mim" / "configs"
# Keys of a model that do not change what kind of model it is.
IGNORED = {
    "class_weight",
    "data_preprocessor",
    "dataset_name",
    "drop_path_rate",
    "init_cfg",
    "num_classes",
    "pretrained",
    "test_cfg",
    "train_cfg",
    "vocabulary",
}
SIZE = 512  # of images of recipes that do not name one
SMALL = 128  # of crops of models with weights, where they take it


class _Shapes(TorchFunctionMode):
    """What runs of models without numbers need beyond PyTorch's meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:  # backbones read their drop rates while they are built
            kwargs.setdefault("device", "cpu")
        if func is batch_norm and args[0].is_meta:  # 1 ms instead of 10
            return torch.empty_like(args[0])
        return func(*args, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", action="store_true", help="one model a family, with weights")
    parser.add_argument("--families", nargs="+", metavar="NAME", help="folders (default: all)")
    parser.add_argument("--shard", default="1/1", help="PART/PARTS of the models (default: 1/1)")
    parser.add_argument("--json", metavar="FILE", help="a line for each model; goes on there")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="only print a table of FILEs")
    args = parser.parse_args()
    if args.table:
        lines = [line for path in args.table for line in Path(path).read_text().splitlines()]
        print(table([json.loads(line) for line in lines]))
        return
    MMLogger.get_current_instance().setLevel("ERROR")
    part, parts = map(int, args.shard.split("/"))
    groups = [*distinct_models(args.families)]
    if args.weights:
        families: dict[str, list[list[Path]]] = {}
        for group in groups:
            families.setdefault(group[0].parts[0], []).append(group)
        groups = [min(members, key=_extent) for members in families.values()]
    out = Path(args.json) if args.json else None
    done = {json.loads(line)["config"] for line in _lines(out)}
    results = []
    for members in groups[part - 1 :: parts]:
        if str(members[0]) in done:
            continue
        result = check(members[0], args.weights, SMALL if args.weights else None)
        if "meta tensors" in (result["problem"] or ""):
            # such as Mask2Former, whose queries look where they saw something
            result = check(members[0], True, SMALL)
        elif args.weights and "does not run on an image" in (result["problem"] or ""):
            result = check(members[0], True)
        result = {"config": str(members[0]), "recipes": len(members), **result}
        print(members[0], result["problem"] or "works", flush=True)
        results.append(result)
        if out:
            with out.open("a") as file:
                file.write(json.dumps(result) + "\n")
        gc.collect()
    print(table(results))


def distinct_models(families: list[str] | None = None) -> Iterator[list[Path]]:
    """Recipes of the zoo, those of one model together, by their paths in the zoo."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(ZOO.rglob("*.py")):
        name = path.relative_to(ZOO)
        if name.parts[0] == "_base_" or (families and name.parts[0] not in families):
            continue
        cfg = Config.fromfile(path, import_custom_modules=False)
        key = json.dumps(_essence(cfg.get("model", str(name))), sort_keys=True, default=str)
        groups.setdefault(f"{name.parts[0]} {key}", []).append(name)
    yield from groups.values()


def check(name: Path, weights: bool = False, crop: int | None = None) -> dict[str, Any]:
    """Write and run the retrofit of a recipe.

    Args:
        name (Path): The recipe, by its path in the zoo.
        weights (bool): Whether to have weights, random ones, and to prove the retrofit on the CPU
            as tools/retrofit.py does it. Defaults to False: shapes only, on the meta device.
        crop (int, optional): Size of the crops. Defaults to that of the recipe.

    Returns:
        dict[str, Any]: ``problem`` (None if it works), ``head``, ``strides`` that the point head
        reads, ``image`` whether it reads the image, ``differing`` labels without steps.
    """
    result: dict[str, Any] = dict(problem=None, head="", strides=[], image=False, differing=None)
    config, device = ZOO / name, torch.device("cpu" if weights else "meta")
    try:
        with tempfile.TemporaryDirectory() as folder, device, _Shapes():
            target = Path(folder, "new.py")
            if crop is not None:
                model = dict(data_preprocessor=dict(size=(crop, crop)))
                config = Path(folder, "small.py")
                config.write_text(f'_base_ = "{(ZOO / name).as_posix()}"\nmodel = {model}\n')
            head = read_model_config(config).model.decode_head
            result["head"] = type_name(parts(head)[-1])
            coarse = read_coarse_model(config)
            written = write_config(coarse, "none.pth", target, check=weights)
            result.update(
                strides=[level.stride for level in written.chosen],
                image=written.reads_image,
                differing=written.differing,
            )
            if not weights:
                _run_shapes(target)
    except InputError as error:
        result["problem"] = str(error).replace(str(config), str(name))
    except Exception as error:  # a defect; the table counts it
        result["problem"] = f"DEFECT {type(error).__name__}: {error}".partition("\n")[0]
    return result


@torch.no_grad()
def _run_shapes(config: Path) -> None:
    """Build the model of a config and have it predict, on the current device."""
    model = MODELS.build(Config.fromfile(config).model).eval()
    size = model.data_preprocessor.size or (SIZE, SIZE)
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
    logits = model.encode_decode(torch.zeros(1, 3, *size), [meta])
    if tuple(logits.shape) != (1, model.out_channels, *size):
        raise RuntimeError(f"logits must be of the size of the image, got {tuple(logits.shape)}")


def _extent(group: list[Path]) -> tuple[int, str]:
    """What to order the models of a family by, small ones first."""
    cfg = Config.fromfile(ZOO / group[0], import_custom_modules=False)
    backbone = (cfg.get("model") or {}).get("backbone") or {}
    sizes = [backbone.get(key) or 0 for key in ("depth", "depths", "num_layers", "embed_dims")]
    return sum(sum(size) if isinstance(size, list) else size for size in sizes), str(group[0])


def table(results: list[dict[str, Any]]) -> str:
    """Totals and a Markdown table of families; of two results of a recipe the later counts."""
    results = [*{result["config"]: result for result in results}.values()]
    families: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        families.setdefault((Path(result["config"]).parts[0], result["head"]), []).append(result)
    total = sum(result["recipes"] for result in results)
    working = sum(result["recipes"] for result in results if not result["problem"])
    lines = [
        f"{working} of {total} recipes work.",
        "",
        "| Family | Head | Recipes | Works | Strides of the fine features | With weights |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (family, head), members in sorted(families.items()):
        problems = {member["problem"].partition(": ")[2] for member in members if member["problem"]}
        good = [member for member in members if not member["problem"]]
        image = "2, 4 of the image; " if any(member["image"] for member in good) else ""
        strides = sorted({", ".join(map(str, member["strides"])) for member in good})
        shares = [member["differing"] for member in good if member["differing"] is not None]
        count, works = (sum(m["recipes"] for m in each) for each in (members, good))
        answer = f"{works} of {count}" if works else "no"
        row = [
            family,
            head,
            str(count),
            f"{answer}: " + "; ".join(sorted(problems)) if problems else "yes",
            image + "; ".join(strides),
            f"{100 * max(shares):.2g} % of labels differ" if shares else "",
        ]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _essence(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _essence(value) for key, value in part.items() if key not in IGNORED}
    return [_essence(each) for each in part] if isinstance(part, list | tuple) else part


def _lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path and path.is_file() else []


if __name__ == "__main__":
    main()
