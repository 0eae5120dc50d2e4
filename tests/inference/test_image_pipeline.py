import pytest
from mmengine.config import Config

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.image_pipeline import steps_after_loading

RESIZE = dict(type="Resize", scale=(64, 32))
OWN = dict(type="ShapesDataset", pipeline=[dict(type="LoadImageFromFile"), RESIZE])
# What a run makes of it, and what may be around it.
CHECKED = dict(OWN, pipeline=[dict(type="LoadCheckedImage"), RESIZE])
REPEATED = dict(type="RepeatDataset", times=2, dataset=OWN)
JOINED = dict(type="ConcatDataset", datasets=[REPEATED, CHECKED])


@pytest.mark.parametrize("dataset", [OWN, CHECKED, REPEATED, JOINED])
def test_images_are_loaded_already(dataset: dict) -> None:
    assert steps_after_loading(Config(dict(test_dataloader=dict(dataset=dataset)))) == [RESIZE]


def test_a_data_set_without_a_pipeline_is_refused() -> None:
    with pytest.raises(InputError, match="has no pipeline"):
        steps_after_loading(Config(dict(test_dataloader=dict(dataset=dict(type="Own")))))
