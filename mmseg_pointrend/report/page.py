"""The page of a report, from a Jinja2 template."""

import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from jinja2 import Environment, PackageLoader
from mmengine.runner import Runner

from ..version import __version__
from .gallery import ERROR_COLORS, STEP_COLORS, Entry, Palette
from .scores import BOUNDARY, WHOLE, by_distance, iou, mean

MARKER = "report.json"  # tells that a folder was written here, and holds the metrics
ASSETS = Path(__file__).parent / "assets"


def write_page(
    folder: Path,
    names: Sequence[str],
    classes: Sequence[str],
    palette: Palette,
    entries: Sequence[Entry],
    gallery: Sequence[Entry],
    num_steps: int,
    run: dict[str, str],
    config: str,
) -> None:
    """Write ``index.html`` and what it needs besides the pictures in ``folder/images``.

    Of the label maps, ``names``, the others are compared with the last. ``entries`` are all images,
    ``gallery`` those with pictures, which show points of ``num_steps`` steps, or none if that is 0.
    """
    has_truth = all(entry.counts is not None for entry in entries)
    scores = _scores(sum(entry.counts for entry in entries)) if has_truth else None
    gains = np.array([entry.gains for entry in entries])
    items = [_gallery_item(entry) for entry in gallery]
    data = dict(
        items=items,
        names=names,
        classes=[
            dict(name=name, color=_hex(color)) for name, color in zip(classes, palette, strict=True)
        ],
        hasTruth=has_truth,
        errorColors=[_hex(color) for color in ERROR_COLORS],
        stepColors=[_hex(color) for color in STEP_COLORS[:num_steps]],
    )
    environment = Environment(
        loader=PackageLoader(__package__, "assets"), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("index.html.j2").render(
        data,
        data=data,
        title=Path(run["Config"]).stem,
        shown_classes=sorted({k for item in items for k in item["classes"]}),
        scores=scores,
        gained=(gains > 0).sum(axis=0).tolist(),
        lost=(gains < 0).sum(axis=0).tolist(),
        num_images=len(entries),
        run=run,
        config=config,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    for name in ("report.css", "report.js"):
        shutil.copyfile(ASSETS / name, folder / name)
    summary = dict(written_by=f"mmseg_pointrend {__version__}", run=run, names=names, scores=scores)
    (folder / MARKER).write_text(json.dumps(summary, indent=1), encoding="utf-8")


def describe_run(runner: Runner) -> dict[str, str]:
    """Config, checkpoint, data, date and versions of a test."""
    dataset = runner.test_loop.dataloader.dataset
    root = getattr(dataset, "data_root", None)
    versions = [f"{part.__name__} {part.__version__}" for part in (mmseg, mmengine, mmcv, torch)]
    return {
        "Config": runner.cfg.filename or "model",
        "Checkpoint": str(runner.cfg.get("load_from")),
        "Data": f"{type(dataset).__name__}{f' in {root}' if root else ''}, {len(dataset)} images",
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Versions": ", ".join([f"mmseg_pointrend {__version__}", *versions]),
    }


def _scores(counts: np.ndarray) -> dict:
    """Figures of counts, (V, R, 2, K), each a list of V numbers; None where a class is not."""
    whole, boundary = (iou(counts[:, row]) for row in (WHOLE, BOUNDARY))
    rows = [
        dict(index=int(k), iou=_numbers(whole[:, k]), boundary=_numbers(boundary[:, k]))
        for k in np.flatnonzero(counts[:, WHOLE, 1].any(axis=0))
    ]
    differences = np.concatenate([values[-1] - values[:-1] for values in (whole, boundary)])
    return dict(
        iou=_numbers([mean(values) for values in whole]),
        boundary=_numbers([mean(values) for values in boundary]),
        rows=rows,
        distances=[(name, _numbers(values)) for name, values in by_distance(counts)],
        largest_difference=max(1.0, float(np.nan_to_num(np.abs(differences)).max())),
    )


def _gallery_item(entry: Entry) -> dict:
    """What the script needs to know of an image, with the gains of each class."""
    item = entry._asdict() | dict(name=Path(entry.path).name, by_class=[])
    counts = item.pop("counts")
    if counts is not None:
        boundary = iou(counts[:, BOUNDARY])
        item["by_class"] = [
            {int(k): round(gains[k], 2) for k in np.flatnonzero(~np.isnan(gains))}
            for gains in boundary[-1] - boundary[:-1]
        ]
    return item


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 2) for value in values]


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*map(int, color))
