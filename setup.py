"""What setup.cfg cannot say: where mim looks for configs, tools and model-index.yml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
NAMES = ("configs", "tools", "model-index.yml")
# OpenMMLab's mim looks into .mim of the package. OneDL's looks into the folder of the first file
# that pip lists for an installed distribution, where mmseg_pointrend-*.dist-info would come before
# mmseg_pointrend: a folder of a name that sorts before either is needed, and no console script,
# which sorts before all. In an editable install it looks into the repository, and through links
# too: with links to configs there, mim train CONFIG.py finds each twice and refuses.
FOLDERS = (Path("mmseg_pointrend", ".mim"), Path("mim_mmseg_pointrend"))


class BuildWithMim(build_py):
    """Copies to wheels what an editable install has in the repository."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in (Path(self.build_lib, folder) for folder in FOLDERS):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in NAMES:
                if (ROOT / name).is_dir():
                    ignore = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, folder / name, ignore=ignore)
                else:
                    shutil.copy(ROOT / name, folder / name)


setup(cmdclass={"build_py": BuildWithMim})
