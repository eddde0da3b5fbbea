"""The leaderboard's pages in a real browser, opened from disk.

Every test also makes sure, at its end, that nothing was logged as an error and nothing asked any host.
"""

import json

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[dev]'")

from helpers import PATIENCE_S
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

SHOWN_ROWS = """
return [...document.querySelectorAll("section.board:not([hidden]) table.main tbody tr:not([hidden])")]
    .map(row => row.dataset.slug)
"""


class Browser:
    """What a person does and sees."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def open(self, page="index.html", width=1280, dark=False, mobile=False):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get(f"{self.folder.as_uri()}/{page}")
        self.wait(lambda: self.script("return document.documentElement.dataset.ready") == "true")

    def script(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition, seconds=PATIENCE_S):
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def choose(self, control, value):
        Select(self.find(f"#{control}")).select_by_value(value)

    def rows(self):
        return self.script(SHOWN_ROWS)

    def text(self, slug, column):
        selector = f"section.board:not([hidden]) tr[data-slug={slug}] [data-col={column}]"
        return " ".join(self.script("return document.querySelector(arguments[0]).innerText", selector).split())

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self, attribute="id"):
        return self.script("return document.activeElement.getAttribute(arguments[0])", attribute)

    def requests(self):
        """Addresses that the pages asked for, and that are no file."""
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        requests = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        sent = [r["request"]["url"] for r in requests if r["documentURL"].startswith("file:")]  # not Chromium's own tab
        assert any(url.startswith("file:") for url in sent), "the log of requests does not work"
        return [url for url in sent if not url.startswith(("file:", "data:", "about:"))]


@pytest.fixture
def browser(chromium, board):
    found = Browser(chromium, board)
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield found
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert found.requests() == []


# --- The index


def test_the_default_is_the_official_split_by_error(browser):
    browser.open()
    assert browser.rows() == ["best", "honest", "gaps", "mean", "wild"]
    assert browser.find("#status").text == "5 of 5 rows"
    assert browser.find("section.board:not([hidden]) th[data-key=mae]").get_attribute("aria-sort") == "ascending"
    assert browser.text("best", "mae").startswith("0.0")
    assert "[" in browser.text("best", "mae")
    assert "floor" in browser.text("mean", "name")
    assert browser.text("best", "parameters") == "4 M"
    assert browser.text("best", "hardware") == "Abacus, 2 cores"


def test_sorting(browser):
    browser.open()
    head = browser.find("section.board:not([hidden]) th[data-key=mae]")
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert browser.rows() == ["wild", "mean", "gaps", "honest", "best"]
    by_name = browser.find("section.board:not([hidden]) th[data-key=name]")
    by_name.find_element(By.TAG_NAME, "button").click()
    assert browser.rows() == sorted(browser.rows())
    assert (head.get_attribute("aria-sort"), by_name.get_attribute("aria-sort")) == ("none", "ascending")
    button = browser.find("section.board:not([hidden]) th[data-key=parameters] button")
    for first in ("mean", "best"):
        browser.script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        assert browser.rows()[0] == first
        assert set(browser.rows()[2:]) == {"honest", "gaps", "wild"}  # unknown stays last either way


def test_filters(browser):
    browser.open()
    browser.find("#query").send_keys("MODEL gap")
    assert browser.rows() == ["gaps"]
    assert browser.find("#status").text == "1 of 5 rows"
    browser.find("#query").clear()
    browser.find("#query").send_keys("nothing at all")
    assert browser.rows() == []
    assert browser.find("section.board:not([hidden]) .none").is_displayed()
    browser.script("const q = document.getElementById('query'); q.value = ''; q.dispatchEvent(new Event('input'))")
    browser.find("input[name=kind][value=floor]").click()
    assert browser.rows() == ["best", "honest", "gaps", "wild"]


def test_switching_the_split(browser):
    browser.open()
    browser.choose("split", "material-cv")
    assert browser.rows() == ["best", "honest", "mean"]
    assert not browser.find("#subset").is_enabled()
    browser.choose("split", "official-train")
    assert browser.rows() == ["fitted"]
    assert browser.all("section.board:not([hidden]) [data-col=ranks]") == []
    browser.choose("split", "official")
    assert len(browser.rows()) == 5


def test_switching_the_paths_and_the_threshold(browser):
    browser.open()
    results = json.loads((browser.folder / "results.json").read_text())
    score = next(row for row in results["boards"]["official"] if row["slug"] == "gaps")["score"]
    browser.choose("subset", "scenario-b")
    assert browser.text("gaps", "mae").startswith(f"{score['subsets']['scenario-b']['metrics']['mae']['value']:.3f} [")
    assert "scenario B" in browser.find("section.board:not([hidden]) caption").text
    browser.choose("subset", "covered")
    assert browser.text("gaps", "mae").startswith(f"{score['subsets']['covered']['metrics']['mae']['value']:.3f} [")
    browser.choose("threshold", "0.5")
    assert browser.text("gaps", "accuracy").startswith(f"{score['classification']['0.5']['accuracy']['value']:.2f} [")
    assert browser.driver.current_url.endswith("#subset=covered&threshold=0.5")


def test_a_view_can_be_passed_on(browser):
    browser.open("index.html#split=material-cv&threshold=0.525&q=best")
    assert browser.rows() == ["best"]
    assert browser.find("#threshold").get_attribute("value") == "0.525"
    browser.open("index.html#split=%3Cscript%3E&subset=nonsense")
    assert len(browser.rows()) == 5


def test_intervals_are_drawn(browser):
    browser.open()
    low, high, value = browser.script(
        "const s = document.querySelector('tr[data-slug=honest] [data-col=mae] svg');"
        "return [s.children[1].x1, s.children[1].x2, s.children[2].cx].map(x => x.baseVal.valueInSpecifiedUnits)"
    )
    assert 0 < low < value < high < 100


def test_ties_and_differences_are_visible(browser):
    browser.open()
    assert browser.find("tr[data-slug=best] .tie").text == "a"
    cells = browser.all("section.board:not([hidden]) table.heat td")
    assert len(cells) == 25
    assert browser.all("section.board:not([hidden]) table.heat td.apart")
    assert "eV this split resolves" not in browser.find(".facts").text
    assert "resolves" in browser.find(".facts").text


# --- A model's page


def drawn(browser, kind):
    plot = browser.find(f"#official [data-plot={kind}]")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", plot)
    browser.wait(lambda: plot.get_attribute("data-drawn"))
    return plot


def test_opening_a_model_and_hovering_over_a_point(browser):
    browser.open()
    browser.find("tr[data-slug=best] a").click()
    browser.wait(lambda: "Model best" in browser.driver.title)
    points = drawn(browser, "parity").find_elements(By.CSS_SELECTOR, "[aria-roledescription=point]")
    assert len(points) == 60
    point = max(points, key=lambda each: each.location["x"])  # apart from the others
    path_id = point.get_attribute("aria-label").partition(",")[0]
    ActionChains(browser.driver).move_to_element(point).perform()
    tooltip = browser.wait(lambda: next((t for t in browser.all("#vg-tooltip-element.visible")), None))
    for word in (path_id, "group", "ion", "true (eV)", "predicted (eV)", "SD over seeds (eV)"):
        assert word in tooltip.text


@pytest.mark.parametrize("slug", ["best", "honest", "gaps", "fitted", "wild", "mean"])
def test_every_plot_is_drawn(browser, slug):
    browser.open(f"models/{slug}.html")
    plots = browser.all("[data-plot]")
    assert {plot.get_attribute("data-plot") for plot in plots} >= {"parity", "histogram", "tracks"}
    assert bool(browser.all("[data-plot=curve]")) == (slug == "best")
    calibrated = browser.all("[data-plot=calibration]")
    assert bool(calibrated) == (slug == "honest")
    for plot in plots:
        browser.script("arguments[0].scrollIntoView({block: 'center'})", plot)
        browser.wait(lambda plot=plot: plot.get_attribute("data-drawn"))
        assert plot.find_elements(By.CSS_SELECTOR, "svg path")
        assert browser.script("const p = arguments[0]; return p.scrollWidth <= p.clientWidth", plot)


def test_a_plot_shrinks_with_its_column_before_it_is_drawn_again(browser):
    browser.open("models/best.html")
    plot = drawn(browser, "parity")
    browser.script("arguments[0].parentElement.style.width = '200px'", plot)
    assert browser.script("const p = arguments[0]; return p.scrollWidth <= p.clientWidth", plot)


def test_predictions_beyond_the_frame_are_told(browser):
    browser.open("models/wild.html")
    drawn(browser, "parity")
    assert "beyond the frame" in browser.find("#official .plot-parity .plot-note").text


def test_the_plots_of_a_model_follow_the_scheme(browser):
    browser.open("models/best.html")
    plot = drawn(browser, "parity")
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.wait(lambda: plot.get_attribute("data-drawn") == "dark")


# --- Everybody


def test_by_keyboard_alone(browser):
    browser.open()
    browser.press(Keys.TAB)
    assert browser.script("return document.activeElement.className") == "skip"
    assert browser.script("return document.activeElement.getBoundingClientRect().left") >= 0
    seen = []
    for _ in range(40):
        browser.press(Keys.TAB)
        seen.append(browser.focused())
        if browser.script("return document.activeElement.closest('th')?.dataset.key") == "rmse":
            break
    assert [name for name in seen if name] == ["split", "subset", "threshold", "query"]
    assert browser.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press(Keys.ENTER)
    head = browser.find("section.board:not([hidden]) th[data-key=rmse]")
    assert head.get_attribute("aria-sort") == "ascending"
    browser.script("document.getElementById('split').focus()")
    browser.press("F")  # "Five folds ...", or "Fit ..."
    browser.wait(lambda: browser.find("#split").get_attribute("value") != "official")
    browser.script("document.querySelector('section.board:not([hidden]) tr a').focus()")
    browser.press(Keys.ENTER)
    browser.wait(lambda: "/models/" in browser.driver.current_url)


def test_points_by_keyboard(browser):
    browser.open("models/best.html")
    plot = drawn(browser, "parity")
    points = plot.find_elements(By.CSS_SELECTOR, "[tabindex='0']")
    assert len(points) == 1  # one stop, not sixty
    browser.script("arguments[0].focus()", points[0])
    says = browser.find("#official .plot-parity .says")
    first = says.text
    assert "true" in first
    browser.press(Keys.ARROW_RIGHT)
    browser.wait(lambda: says.text not in ("", first))


PAGES = ["index.html", "models/best.html", "models/honest.html", "models/wild.html"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [375, 768])
def test_no_page_scrolls_sideways(browser, page, width):
    browser.open(page, width=width, mobile=True)
    for plot in browser.all("[data-plot]"):
        browser.script("arguments[0].scrollIntoView({block: 'center'})", plot)
        browser.wait(lambda plot=plot: plot.get_attribute("data-drawn"))
    assert browser.script("return document.documentElement.scrollWidth") <= width
    assert browser.script("return window.innerWidth") == width


CONTRAST = """
const rgb = text => (text.match(/[\\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
const light = c => {
  const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const opaque = e => {
  for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (!c.startsWith("rgba") || c.endsWith(", 1)")) return c;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent && e.innerText.trim()).map(e => {
  const [a, b] = [light(getComputedStyle(e).color), light(opaque(e))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.className || e.tagName, e.innerText.slice(0, 30)];
}).sort((x, y) => x[0] - y[0])[0];
"""
TEXTS = "p, a, th, td, dt, dd, h1, h2, h3, caption, label, legend, .ci, .unit, .kind, .tie, summary, figcaption"


@pytest.mark.parametrize("page", ["index.html", "models/honest.html"])
@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_in_light_and_dark(browser, page, dark):
    browser.open(page, dark=dark)
    background = browser.script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) == dark
    ratio, *what = browser.script(CONTRAST, TEXTS)
    assert ratio >= 4.5, what


@pytest.mark.parametrize("page", ["index.html", "models/best.html"])
def test_names_for_a_screen_reader(browser, page):
    browser.open(page)
    for table in browser.all("table"):
        assert browser.script("return arguments[0].caption !== null", table)
        assert browser.script("return [...arguments[0].querySelectorAll('th')].every(th => th.scope)", table)
    for region in browser.all("[role=region]"):
        if region.is_displayed():
            assert region.accessible_name
        assert region.get_attribute("tabindex") == "0"
    for control in browser.all("select, input, button"):
        if control.is_displayed():
            assert control.accessible_name
    levels = [int(head.tag_name[1]) for head in browser.all("h1, h2, h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert len(browser.all("main")) == len(browser.all("html[lang=en]")) == 1
    ids = browser.script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
