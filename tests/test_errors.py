import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mmseg_pointrend.errors import ignore_known_warnings, import_quietly

NOISY = """
import warnings
print("Could not import OneDL")
print("something else")
warnings.warn("Fail to import ``MultiScaleDeformableAttention`` from somewhere")
warnings.warn("something to know")
"""


def test_known_lines_and_warnings_of_an_import_are_dropped_and_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy_module.py").write_text(NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = [*warnings.filters]
        import_quietly("noisy_module")
        assert warnings.filters == filters
    assert capsys.readouterr().out == "something else\n"
    assert [str(warning.message) for warning in caught] == ["something to know"]


def test_programs_ignore_them_by_name() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ignore_known_warnings()
        warnings.warn("Default ``avg_non_ignore`` is False, if you would", stacklevel=1)
        warnings.warn("Default is something else", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["Default is something else"]


@pytest.mark.slow
def test_importing_the_package_says_nothing() -> None:
    command = [sys.executable, "-c", "import mmseg_pointrend"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
