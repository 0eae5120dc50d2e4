from pathlib import Path

from benchmarks.zoo import check, table


def row(config: str, **others: object) -> dict:
    works = dict(problem=None, head="FCNHead", strides=[4, 8], image=False, differing=None)
    return {"config": config, "recipes": 2, **works, **others}


def test_table_has_totals_and_a_row_for_each_family() -> None:
    later = row("fcn/a.py", differing=0.0)
    no = row("san/c.py", problem="san/c.py: it compares", head="", strides=[])
    image = row("stdc/b.py", strides=[8], image=True)
    mixed = [row("fcn/d.py", strides=[8]), row("fcn/e.py", problem="fcn/e.py: no package")]
    lines = table([row("fcn/a.py"), *mixed, image, no, later]).splitlines()
    assert lines[0] == "6 of 10 recipes work."
    assert lines[4:] == [
        "| fcn | FCNHead | 6 | 4 of 6: no package | 4, 8; 8 | 0 % of labels differ |",
        "| san |  | 2 | no: it compares |  |  |",
        "| stdc | FCNHead | 2 | yes | 2, 4 of the image; 8 |  |",
    ]


def test_a_recipe_of_the_zoo_in_shapes_and_in_weights() -> None:
    name = Path("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py")
    shapes, weights = check(name), check(name, weights=True, crop=64)
    assert shapes["problem"] is None
    assert (shapes["strides"], shapes["image"], shapes["differing"]) == ([8], True, None)
    assert {**weights, "differing": None} == shapes
    assert weights["differing"] == 0


def test_a_model_of_another_kind_is_refused_by_name() -> None:
    problem = check(Path("vpd/vpd_sd_4xb8-25k_nyu-480x480.py"))["problem"]
    assert problem.startswith("vpd/vpd_sd")
    assert "predicts depth" in problem
