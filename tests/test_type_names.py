import pytest
from mmseg.models.backbones import ResNet

from mmseg_pointrend.type_names import type_name


@pytest.mark.parametrize("kind", [ResNet, "ResNet", "mmseg.ResNet"])
def test_a_type_has_one_name(kind: str | type) -> None:
    assert type_name(dict(type=kind)) == "ResNet"


def test_a_part_without_a_type_is_the_default() -> None:
    assert type_name({}) == ""
    assert type_name({}, "ResNet") == "ResNet"
