"""Each benchmark runs, compares what it says it compares, and writes its figures."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scenes import WORST_CASES

Tool = Callable[..., None]

SHARED = ("--rounds", 1, "--threads", 1)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict]:
    def run(*args: object) -> dict:
        arguments = [*args, *SHARED, "--json", tmp_path / "figures.json"]
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        runpy.run_module("benchmarks", run_name="__main__")
        return json.loads((tmp_path / "figures.json").read_text())["results"]

    return run


def test_render(figures: Callable[..., dict]) -> None:
    size = ("--height", 128, "--width", 256)
    against = "mmseg,mmseg-segmentor,dense,doubled"
    rows = figures("render", *size, "--classes", 5, "--points", 64, "--check", "--against", against)
    assert list(rows) == ["sparse", "sparse, doubled", "dense", "mmseg", "mmseg-segmentor"]
    compared = [row for name, row in rows.items() if name != "sparse, doubled"]
    assert all(row["labels unlike float64"] == 0 for row in compared)
    assert rows["sparse"]["peak MiB"] < rows["mmseg"]["peak MiB"]


@pytest.mark.parametrize("case", WORST_CASES)
def test_render_at_its_worst(figures: Callable[..., dict], case: str) -> None:
    size = ("--height", 64, "--width", 96)
    rows = figures("render", *size, "--worst-case", case, "--against", "dense", "--check")
    # where all logits tie any label is right, and float64 may choose others
    assert case == "ties" or rows["sparse"]["labels unlike float64"] == 0


def test_model(figures: Callable[..., dict], tiny_config: Path) -> None:
    size = ("--height", 64, "--width", 96)
    rows = figures("model", "--config", tiny_config, *size)
    assert {name: row["labels as ours"] for name, row in rows.items()} == dict.fromkeys(
        ("ours", "dense", "mmseg"), "100.000%"
    )


def test_train(figures: Callable[..., dict], tiny_config: Path) -> None:
    rows = figures("train", "--config", tiny_config, "--height", 64, "--width", 64)
    sides = ["ours", "retrofit", "coarse", "mmseg", "point head", "checks"]
    sides.append("coarse + point head")
    assert list(rows) == sides
