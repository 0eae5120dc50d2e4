"""What mim finds, in the repository and in every kind of installation."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import copytree, ignore_patterns

import cv2
import numpy as np
import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
ZOO = "https://download.openmmlab.com/mmsegmentation/v0.5/point_rend"
# What OpenMMLab says of its own models; see "Source" in configs/metafile.yaml.
PUBLISHED = {
    "pointrend_r50_cityscapes": (76.47, "512x1024_80k_cityscapes_20200711_015821-bb1ff523.pth"),
    "pointrend_r101_cityscapes": (78.30, "512x1024_80k_cityscapes_20200711_170850-d0ca84be.pth"),
    "pointrend_r50_ade20k": (37.64, "512x512_160k_ade20k_20200807_232644-ac3febf2.pth"),
    "pointrend_r101_ade20k": (40.02, "512x512_160k_ade20k_20200808_030852-8834902a.pth"),
}
# Makes a file of the published layout from MMSegmentation's own model with random weights.
MAKE_CHECKPOINT = """
import os, sys, torch, mmseg
from mmengine.config import Config
from mmseg.models.decode_heads import point_head
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
register_all_modules()
point_head.point_sample = point_head.point_sample or print  # only to be built
folder = os.path.join(os.path.dirname(mmseg.__file__), ".mim/configs/point_rend")
cfg = Config.fromfile(os.path.join(folder, "pointrend_r50_4xb2-80k_cityscapes-512x1024.py"))
cfg.model.pretrained = None
classes = mmseg.datasets.CityscapesDataset.METAINFO
meta = dict(CLASSES=list(classes["classes"]), PALETTE=classes["palette"], mmseg_version="0.5.0")
torch.save(dict(meta=meta, state_dict=MODELS.build(cfg.model).state_dict()), sys.argv[1])
"""
# Makes the recipe for shapes a matter of seconds.
TINY = [
    "model.data_preprocessor.size=(64,64)",
    "train_dataloader.dataset.size=64",
    "train_dataloader.dataset.length=8",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "val_dataloader.dataset.size=64",
    "val_dataloader.dataset.length=2",
    "val_dataloader.num_workers=0",
    "val_dataloader.persistent_workers=False",
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "default_hooks.checkpoint.interval=2",
]


def listed_models() -> dict[str, dict]:
    models = {}
    for name in yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]:
        for model in yaml.safe_load((ROOT / name).read_text())["Models"]:
            models[model["Name"]] = model
    return models


def test_every_recipe_is_listed() -> None:
    configs = [*ROOT.glob("configs/pointrend_*.py"), *ROOT.glob("configs/retrofit/*.py")]
    names = {path.stem: path for path in configs if not path.stem.endswith("_shapes")}
    models = listed_models()
    assert models.keys() == names.keys()
    for name, path in names.items():
        model, cfg = models[name], Config.fromfile(path)
        assert ROOT / model["Config"] == path
        assert model["In Collection"] == "PointRend"
        assert model["Metadata"]["Iterations"] == cfg.train_cfg.max_iters
        if "Crop Size" in model["Metadata"]:
            assert model["Metadata"]["Crop Size"] == str(cfg.crop_size).replace(" ", "")


def test_only_published_models_claim_weights_and_results() -> None:
    for name, model in listed_models().items():
        if name not in PUBLISHED:
            assert not {"Weights", "Results"} & model.keys()
            continue
        score, file = PUBLISHED[name]
        backbone, data = name.split("_")[1], file.rpartition("_")[0].rpartition("_")[0]
        folder = f"pointrend_{backbone}_{data}"
        assert model["Weights"] == f"{ZOO}/{folder}/pointrend_{backbone}_{file}"
        assert model["Results"][0]["Metrics"]["mIoU"] == score
        assert "open-mmlab/mmsegmentation" in model["Metadata"]["Source"]


def test_wheels_have_what_mim_looks_for(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source = copy_of_repository(tmp_path / "source")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "out")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    for folder in ("mim_mmseg_pointrend", "mmseg_pointrend/.mim"):
        for name in ("configs", "tools"):
            files = {
                p.relative_to(source / name) for p in (source / name).rglob("*") if p.is_file()
            }
            built = tmp_path / "out" / folder / name
            assert {p.relative_to(built) for p in built.rglob("*") if p.is_file()} == files
        assert (tmp_path / "out" / folder / "model-index.yml").is_file()


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def copy_of_repository(target: Path) -> Path:
    names = (".*", "build", "data", "work_dirs", "out", "*.egg-info", "__pycache__")
    return copytree(ROOT, target, ignore=ignore_patterns(*names))


class Shell:
    """Runs commands of a fresh environment, in its folder; they fail the test if they fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # for people to read, if they name a file
        self.transcript = Path(os.environ.get("MIM_TRANSCRIPT", os.devnull))
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        path = f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "HOME": str(folder), "TERM": "dumb"}

    def __call__(self, *command: object, fails: bool = False) -> str:
        command = [*map(str, command)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with self.transcript.open("a") as file:
            file.write(f"$ {subprocess.list2cmdline(command)}\n{done.stdout}\n")
        assert (done.returncode != 0) == fails, done.stdout[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """An environment with mim and PyTorch, without this package."""
    run = Shell(tmp_path_factory.mktemp("mim"))
    run("pip", "install", "-q", "torch==2.13.0")
    run("pip", "install", "-q", "onedl-mim", "build")
    return run


def make_cityscapes(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelTrainIds")):
            (root / kind / split / "x").mkdir(parents=True)
            shape = (64, 128, 3) if kind == "leftImg8bit" else (64, 128)
            image = rng.integers(0, 19, shape, dtype=np.uint8)
            cv2.imwrite(str(root / kind / split / "x" / f"x_{suffix}.png"), image)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a server on this machine, and the folder that it serves."""
    (tmp_path / "www").mkdir()
    handler = partial(QuietHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", tmp_path / "www"
        found.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_mim(kind: str, shell: Shell, server: tuple[str, Path], tmp_path: Path) -> None:
    source = copy_of_repository(tmp_path / "source")
    if kind == "editable":
        shell("pip", "install", "-q", "--editable", f"{source}[onedl]")
        index = source / "configs" / "metafile.yaml"
    else:
        shell("python", "-m", "build", f"--{kind}", "-o", tmp_path / "dist", source)
        (built,) = (tmp_path / "dist").iterdir()
        shell("pip", "install", "-q", "--force-reinstall", "--no-deps", built)
        shell("pip", "install", "-q", f"{built}[onedl]")
        (index,) = shell.folder.glob("venv/lib/*/site-packages/mim_*/configs/metafile.yaml")

    said = shell("mim", "search", "mmseg_pointrend")
    assert all(f"config id: {listed}\n" in said for listed in listed_models())
    name = "pointrend_r50_cityscapes"
    assert "76.47" in shell("mim", "search", "mmseg_pointrend", "--config", name)

    address, served = server
    file = f"pointrend_r50_{PUBLISHED[name][1]}"
    path = served / "pointrend_r50_512x1024_80k_cityscapes" / file
    path.parent.mkdir()
    (tmp_path / "make.py").write_text(MAKE_CHECKPOINT)
    shell("python", tmp_path / "make.py", path)
    index.write_text(index.read_text().replace(ZOO, address))
    zoo = tmp_path / "zoo"
    download = ("mim", "download", "mmseg_pointrend", "--dest", zoo, "--config")
    said = shell(*download, "pointrend_r50", fails=True)
    assert all(valid in said for valid in PUBLISHED)
    shell(*download, name)
    assert (zoo / file).read_bytes() == path.read_bytes()

    make_cityscapes(tmp_path / "cityscapes")
    options = [
        f"test_dataloader.dataset.data_root={tmp_path / 'cityscapes'}",
        "test_dataloader.dataset.pipeline.1.scale=(128,64)",
        "test_dataloader.num_workers=0",
        "test_dataloader.persistent_workers=False",
    ]
    test = ("mim", "test", "mmseg_pointrend", zoo / f"{name}.py")
    said = shell(*test, "--checkpoint", zoo / file, "--cfg-options", *options)
    assert "mIoU" in said
    assert "do not match" not in said

    out = tmp_path / "train"
    run = ("mmseg_pointrend", "pointrend_r18_shapes.py", "--work-dir", out)
    shell("mim", "train", *run, "--cfg-options", *TINY)
    assert (out / "iter_2.pth").is_file()
    search = "--optim_wrapper.optimizer.lr 0.001 0.0001"
    shell("mim", "gridsearch", *run, "--search-args", search, "--cfg-options", *TINY)
    assert len([*tmp_path.glob("train_search_*/iter_2.pth")]) == 2
