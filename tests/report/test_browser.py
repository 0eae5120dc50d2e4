"""A report in headless Chromium: ``make test-browser``."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Chrome"]:
    webdriver = pytest.importorskip("selenium.webdriver")
    monkeypatch.setenv("SE_OFFLINE", "true")  # Debian's driver, not one that Selenium looks for
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


class Report:
    """A report in a browser, with what its user does."""

    def __init__(self, browser: "Chrome", folder: Path) -> None:
        self.browser = browser
        browser.get("about:blank")
        browser.get_log("performance")  # that of Chromium's own first page
        browser.get((folder / "index.html").as_uri())

    def texts(self, selector: str) -> list[str]:
        script = (
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())"
        )
        return self.browser.execute_script(script, selector)

    def cards(self) -> list[str]:
        return self.texts("#cards .name")

    def choose(self, selector: str, value: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.browser.find_element("css selector", selector)).select_by_value(value)

    def click(self, selector: str, index: int = 0) -> None:
        element = self.browser.find_elements("css selector", selector)[index]
        # at once, not smoothly: on a busy machine the click would come before the element
        script = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"
        self.browser.execute_script(script, element)
        element.click()

    def press(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def images(self) -> list[str]:
        """Names of the images of the viewer, once they have loaded."""
        return self.browser.execute_async_script(
            "const done = arguments[0];"
            "const images = [...document.querySelectorAll('#stage img')];"
            "Promise.all(images.map(image => image.decode()))"
            ".then(() => done(images.map(image => image.src.split('-').at(-1))))"
            ".catch(error => done([String(error)]))"
        )

    def view(self) -> dict[str, float]:
        """Where the viewer looks: x, y, zoom and the place of the divider in percent."""
        script = (
            "const style = document.querySelector('#stage').style;"
            "return arguments[0].map(name => parseFloat(style.getPropertyValue('--' + name)))"
        )
        names = ["x", "y", "zoom", "split"]
        return dict(zip(names, self.browser.execute_script(script, names), strict=True))


@pytest.fixture
def report(browser: "Chrome", make_report: Callable[..., Path]) -> Iterator[Report]:
    page = Report(browser, make_report())
    yield page
    errors = [entry["message"] for entry in browser.get_log("browser")]
    assert errors == []
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {
        request["params"]["request"]["url"]
        for request in requests
        if request["method"] == "Network.requestWillBeSent"
    }
    assert urls
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}


def test_tables_sort_by_any_column_with_mouse_and_keyboard(report: Report) -> None:
    from selenium.webdriver.common.keys import Keys

    names = "#metrics .table:not([hidden]) tbody th"
    values = "#metrics .table:not([hidden]) tbody td:nth-child(3)"
    assert report.texts(names) == ["background", "wall", "door"]
    report.click("#metrics .table:not([hidden]) thead button", 0)
    report.click("#metrics .table:not([hidden]) thead button", 0)
    assert report.texts(names) == ["wall", "door", "background"]
    report.click("#metrics .table:not([hidden]) thead button", 2)
    numbers = [float(text) for text in report.texts(values)]
    assert numbers == sorted(numbers, reverse=True)
    report.press(Keys.ENTER)
    assert [float(text) for text in report.texts(values)] == sorted(numbers)


def test_the_gallery_sorts_and_filters(report: Report) -> None:
    assert report.texts("#cards .divide") == ["Gained most", "Lost most"]
    assert report.cards()[0] == "image0.png"
    assert report.cards()[4] == "image7.png"  # the first of those that lost
    report.choose("#order", "loss")
    assert report.cards() == [f"image{k}.png" for k in (7, 6, 5, 4, 3, 2, 1, 0)]
    report.choose("#order", "gain")
    assert report.cards() == [f"image{k}.png" for k in range(8)]
    report.choose("#class", "2")
    assert sorted(report.cards()) == [f"image{k}.png" for k in (1, 3, 5, 7)]
    assert report.texts("#count") == ["4 of 8 images"]


def test_where_no_image_lost_the_least_gains_are_shown(report: Report) -> None:
    report.choose("#class", "2")  # of which no label map has a wrong pixel
    assert report.texts("#cards .divide") == ["No image gained", "No image lost: gained least"]
    assert sorted(report.cards()) == [f"image{k}.png" for k in (1, 3, 5, 7)]


def test_another_model_to_compare_with(report: Report) -> None:
    before = report.texts(".tiles:not([hidden]) .small")[0]
    report.click("#baseline span", 1)
    after = report.texts(".tiles:not([hidden]) .small")[0]
    assert (before.split(":")[0], after.split(":")[0]) == ("Coarse head", "Other model")
    # two columns are wrong in image 1, four in image 2, three in those of the other model
    assert report.cards()[:3] == ["image0.png", "image1.png", "image7.png"]


def test_the_slider_moves_by_mouse_and_keys(report: Report) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    report.click("#cards .card")
    assert report.images() == ["photo.jpg", "labels2.png", "photo.jpg", "labels0.png"]
    assert report.view()["split"] == 50
    report.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert report.view()["split"] == 46
    divider = report.browser.find_element("css selector", "#divider")
    assert divider.get_attribute("aria-valuenow") == "46"
    width = report.browser.find_element("css selector", "#stage").size["width"]
    ActionChains(report.browser).drag_and_drop_by_offset(divider, width // 4, 0).perform()
    assert report.view()["split"] == pytest.approx(71, abs=1)
    report.press(Keys.HOME)
    assert report.view()["split"] == 0


def test_keys_show_truth_errors_and_points(report: Report) -> None:
    from selenium.webdriver.common.keys import Keys

    report.click("#cards .card")
    report.press("t")
    assert report.images() == ["photo.jpg", "truth.png"]
    report.press("e")
    assert report.images() == ["photo.jpg", "errors0.png"]
    assert report.texts("#legend li") == ["Fixed", "Broken", "Wrong in both"]
    report.press("p")
    assert report.images() == ["photo.jpg", "errors0.png", "points.png"]
    assert report.texts("#legend li")[-1] == "Points of step 1"
    report.press("e", "p", "h")
    assert report.images() == ["photo.jpg"]
    report.press("h", "g")
    assert len(report.images()) == 7  # four photos, three with labels
    report.press("j")
    assert report.texts("#viewer-name") == ["image1.png"]
    report.press(Keys.ESCAPE)
    assert not report.browser.execute_script("return document.querySelector('#viewer').open")


def test_zoom_keeps_pixels_crisp_and_views_in_step(report: Report) -> None:
    from selenium.webdriver.common.keys import Keys

    report.click("#cards .card")
    fitted = report.view()
    report.press("+", "+")
    assert report.view()["zoom"] == pytest.approx(fitted["zoom"] * 2.25)
    script = "return getComputedStyle(document.querySelector('#stage img')).imageRendering"
    assert report.browser.execute_script(script) == "pixelated"
    report.press(Keys.SHIFT + Keys.ARROW_LEFT)
    boxes = report.browser.execute_script(
        "return [...document.querySelectorAll('.world')]"
        ".map(e => JSON.stringify(e.getBoundingClientRect()))"
    )
    assert len(boxes) == 2
    assert boxes[0] == boxes[1]
    report.press("0")
    assert report.view()["zoom"] == pytest.approx(fitted["zoom"])


def test_it_fits_a_phone(report: Report) -> None:
    size = dict(width=390, height=844, deviceScaleFactor=2, mobile=True)
    report.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    width = "return document.documentElement.scrollWidth"
    assert report.browser.execute_script(width) == 390
    report.click("#cards .card")
    assert report.browser.execute_script(width) == 390
    stage = report.browser.find_element("css selector", "#stage").size
    assert stage["width"] == 390
    assert stage["height"] > 422
