import pytest
from mmengine.config import Config

from mmseg_pointrend.own_import import import_wherever_loaded


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        (None, ["mmseg_pointrend"]),
        ("mine", ["mine", "mmseg_pointrend"]),
        (["mmseg_pointrend", "mine"], ["mine", "mmseg_pointrend"]),
    ],
)
def test_a_config_imports_what_it_did_and_this_package(
    imports: str | list[str] | None, expected: list[str]
) -> None:
    cfg = Config(dict(custom_imports=dict(imports=imports)) if imports else dict())
    import_wherever_loaded(cfg)
    assert cfg.custom_imports.imports == expected


def test_a_config_may_say_that_it_imports_nothing() -> None:
    cfg = Config(dict(custom_imports=None))
    import_wherever_loaded(cfg)
    assert cfg.custom_imports == dict(imports=["mmseg_pointrend"], allow_failed_imports=False)
