"""The pages in headless Chromium: nothing is refused or fails, all is drawn, nothing sticks out."""

from pathlib import Path

import pytest
from headless import chromium, needs_chromium

from overparam.reporting.index import IndexRow, write_index

pytestmark = needs_chromium


class Browser:
    """Chromium showing one page at a time."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def show(self, place, *, width=1100, dark=False, scripts=True):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.driver.get(Path(str(place)).as_uri())

    def command(self, name, **values):
        return self.driver.execute_cdp_cmd(name, values)

    def ask(self, script):
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {script}")

    def wait(self, script):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 30, poll_frequency=0.05).until(lambda _: self.ask(script))

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium(tmp_path_factory.mktemp("chromium"))
    yield Browser(driver)
    driver.quit()


@pytest.fixture(autouse=True)
def nothing_complained(browser):
    browser.complaints()
    yield
    assert browser.complaints() == []


DRAWN = "document.documentElement.dataset.charts === 'drawn'"
# Pixels are read from a copy: Chromium complains of a canvas that is read more than once.
PIXELS = """((canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
  copy.drawImage(canvas, 0, 0);
  return new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
})"""
INK = f"[...document.querySelectorAll('.live canvas')].map((c) => new Set({PIXELS}(c)).size)"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1100])
def test_every_chart_is_drawn_and_nothing_sticks_out(browser, whole, width, dark):
    browser.show(whole.report.page, width=width, dark=dark)
    browser.wait(DRAWN)
    colours = browser.ask(INK)
    assert len(colours) == 6 and min(colours) > 10
    assert browser.ask("[...document.querySelectorAll('.live')].every((e) => !e.hidden)")
    widths = browser.ask("[...document.querySelectorAll('.live canvas')].map((c) => c.offsetWidth)")
    assert max(widths[:4]) <= width
    browser.driver.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true)"
    )
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("window.hacked") is None
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


def test_charts_follow_a_change_of_the_scheme(browser, whole):
    browser.show(whole.report.page)
    browser.wait(DRAWN)
    corner = f"{PIXELS}(document.querySelector('.live canvas'))[0] >>> 24"
    assert browser.ask(corner) == 255
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.command("Emulation.setEmulatedMedia", features=[dark])
    browser.wait(f"document.querySelector('.live canvas') && ({corner}) === 0")
    browser.wait("document.querySelectorAll('.live canvas').length === 6")


def test_pointing_at_a_chart_shows_a_tooltip(browser, coin, whole):
    from selenium.webdriver import ActionChains

    browser.show(whole.report.page)
    browser.wait(DRAWN)
    bars = browser.driver.find_elements("css selector", ".live canvas")[4]
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", bars)
    left = -bars.size["width"] // 2
    ActionChains(browser.driver).move_to_element_with_offset(bars, left + 75, 60).perform()
    browser.wait("document.querySelector('#vg-tooltip-element.visible td.value')")
    assert "rotated" in browser.ask("document.querySelector('#vg-tooltip-element').innerText")


def test_images_stand_in_without_scripts(browser, whole):
    browser.show(whole.report.page, scripts=False)
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    shown = "[...document.querySelectorAll('figure.chart img')].filter((i) => i.offsetWidth > 300)"
    assert browser.ask(f"{shown}.length") == 7


def test_images_give_way_to_charts_and_can_be_downloaded(browser, whole):
    browser.show(whole.report.page)
    browser.wait(DRAWN)
    shown = "[...document.querySelectorAll('figure.chart img')].filter((i) => i.offsetWidth > 0)"
    assert browser.ask(f"{shown}.length") == 1
    links = "[...document.querySelectorAll('a.png')].filter((a) => !a.hidden && a.download)"
    assert browser.ask(f"{links}.filter((a) => a.href.startsWith('data:image/png')).length") == 7


@pytest.mark.parametrize("name", ["broken", "coin"])
def test_other_pages_on_a_phone(browser, name, request):
    made = request.getfixturevalue(name)
    browser.show(made.report.page, width=400)
    browser.wait(DRAWN)
    assert browser.ask("document.documentElement.scrollWidth") <= 400
    assert min(browser.ask(INK)) > 5


def test_index_filters_by_theme_and_verdict(browser, whole, coin):
    rows = [
        IndexRow.of(made.plan.study, verdicts=made.report.verdicts, page=made.report.page)
        for made in (whole, coin)
    ]
    rows.append(IndexRow("other", "trust", "Another", "?", ()))
    place = whole.store.reports / "index.html"
    write_index(rows, place)
    browser.show(place, width=400)
    assert browser.ask("document.documentElement.scrollWidth") <= 400
    assert browser.ask("document.getElementById('shown').textContent") == "3 of 3 studies, 6 claims"

    def choose(name, value):
        browser.driver.execute_script(
            "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
            "box.dispatchEvent(new Event('change', {bubbles: true}))",
            name,
            value,
        )
        return browser.ask("document.getElementById('shown').textContent")

    assert choose("verdict", "reproduced") == "2 of 3 studies, 2 claims"
    assert choose("verdict", "void") == "1 of 3 studies, 2 claims"
    assert choose("theme", "trust") == "0 of 3 studies, 0 claims"
    assert choose("verdict", "") == "1 of 3 studies, 0 claims"
    visible = "[...document.querySelectorAll('article.study')].filter((a) => a.offsetHeight)"
    assert browser.ask(f"{visible}.map((a) => a.querySelector('h3').textContent)") == ["Another"]
