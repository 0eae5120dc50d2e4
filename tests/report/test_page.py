import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

HOSTILE = "<script>alert('x')</script>&\"{{ 1 }}"


class Page(HTMLParser):
    """Tags, links and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_all_that_it_links_lies_beside_it(make_report: Callable[..., Path]) -> None:
    folder = make_report()
    links = [link for link in read(folder).links if link[0] != "#" and link != "data:,"]
    assert links
    for link in links:
        assert (folder / link).is_file()
    for path in folder.glob("*.*"):
        assert not re.search(r"https?://|fetch\(|XMLHttpRequest|import\(", path.read_text("utf-8"))


def test_figures_are_in_the_page_and_beside_it(make_report: Callable[..., Path]) -> None:
    folder = make_report()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    scores = report["scores"]
    assert report["names"] == ["Coarse head", "Other model", "PointRend"]
    assert scores["iou"][1] > scores["iou"][2]
    assert [row["index"] for row in scores["rows"]] == [0, 1, 2]
    page = read(folder).text
    assert f"{scores['boundary'][2]:.1f}" in page
    for text in ("configs/some_config.py", "work_dirs/iter_1.pth", "model = dict()", "door"):
        assert text in page


def test_names_are_escaped(make_report: Callable[..., Path]) -> None:
    page = read(make_report(classes=("background", HOSTILE, "door"), image_name=HOSTILE + "{}"))
    assert page.tags.count("script") == 2  # our own
    assert HOSTILE in page.text


@pytest.mark.parametrize("has_truth", [True, False])
def test_many_classes(make_report: Callable[..., Path], has_truth: bool) -> None:
    folder = make_report(tuple(f"class {k}" for k in range(300)), has_truth=has_truth)
    assert read(folder).tags.count("option") < 20  # only those that occur


def test_without_truth_there_are_no_metrics(make_report: Callable[..., Path]) -> None:
    folder = make_report(has_truth=False)
    page = read(folder)
    assert "no labels" in page.text
    assert "table" not in page.tags
    assert json.loads((folder / "report.json").read_text())["scores"] is None
    assert not [*(folder / "images").glob("*truth*"), *(folder / "images").glob("*errors*")]
