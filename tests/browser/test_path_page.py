"""The page of one path in a real browser: it draws, turns and tells, and its policy lets nothing else run."""

import pytest

from emigbench import load
from emigbench.report import path_picture, record

DATA = load("spinels")
DRAWN = """
const c = document.getElementById("view"), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
let n = 0; for (let k = 3; k < p.length; k += 4) if (p[k]) n++; return n;
"""
PICTURE = 'return document.getElementById("view").toDataURL()'


@pytest.fixture
def page(chromium, tmp_path):
    file = tmp_path / "path.html"
    file.write_text(path_picture.html(DATA.by_id["MgMn2S4"].path, record.of("MgMn2S4", DATA)), encoding="utf-8")
    chromium.get_log("browser")
    chromium.get(file.as_uri())
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_it_draws_turns_and_zooms(page):
    from selenium.webdriver.common.keys import Keys

    assert page.execute_script(DRAWN) > 10_000
    pictures = [page.execute_script(PICTURE)]
    view = page.find_element("id", "view")
    for key in (Keys.ARROW_LEFT, Keys.ARROW_UP, "+"):
        view.send_keys(key)
        pictures.append(page.execute_script(PICTURE))
    assert len(set(pictures)) == 4
    for key in ("-", Keys.ARROW_DOWN, Keys.ARROW_RIGHT):
        view.send_keys(key)
    assert page.execute_script(DRAWN) > 10_000


def test_dragging_turns_and_pointing_tells(page):
    from selenium.webdriver import ActionChains

    before, view = page.execute_script(PICTURE), page.find_element("id", "view")
    ActionChains(page).move_to_element(view).perform()
    assert page.find_element("id", "told").text == "image 2 of Mg"
    ActionChains(page).click_and_hold(view).move_by_offset(60, 30).release().perform()
    assert page.execute_script(PICTURE) != before


def test_it_is_drawn_anew_when_the_system_turns_dark(page):
    from selenium.webdriver.support.ui import WebDriverWait

    soon, before = WebDriverWait(page, 10), page.execute_script(PICTURE)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, background[4:-1].split(","))) < 150
        soon.until(lambda driver: driver.execute_script(PICTURE) != before)
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    soon.until(lambda driver: driver.execute_script(PICTURE) == before)
