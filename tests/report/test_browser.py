"""The report in a real browser. Screenshots are kept under build/."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from ddpnas import write_report
from ddpnas.report.watch import Watch

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
BUILD = Path(__file__).parents[2] / "build"
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium"
)

WIDER = """
() => [...document.querySelectorAll("main *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
    .filter(e => !e.closest(".scroll, .pictured, nav")).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(whole_run, tmp_path_factory):
    return write_report(whole_run, tmp_path_factory.mktemp("browser") / "report.html")


def show(browser, address, width, theme="light"):
    """Return the page and the list that its errors go to."""
    height = 844 if width < 500 else 900
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto(address)
    return page, errors


def keep(page, name):
    BUILD.mkdir(exist_ok=True)
    page.screenshot(path=BUILD / f"{name}.png", full_page=True)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_renders_without_errors_and_fits(browser, report, width, theme):
    page, errors = show(browser, report.as_uri(), width, theme)
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDER) == []
    red, *_ = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert red < 60 if theme == "dark" else red > 200
    keep(page, f"report-{width}-{theme}")
    page.context.close()


def test_the_plots_are_there_with_a_text_for_those_who_do_not_see_them(browser, report):
    page, _ = show(browser, report.as_uri(), 1280)
    pictures = page.locator("svg[role=img]")
    assert pictures.count() >= 9
    for picture in pictures.all():
        box = picture.bounding_box()
        assert box["width"] > 100 and box["height"] > 5
        assert len(picture.get_attribute("aria-label")) > 15
    names = ["accuracy", "distribution", "effects", "frontier", "skips", "training", "time"]
    for name in names:
        assert page.locator(f"#{name} svg").count() >= 1, name
    assert (
        page.locator("#accuracy .chart .dot").count()
        == page.locator("table[data-name=history] tbody tr").count()
    )
    assert page.locator("#mistakes img").count() == page.locator("#mistakes img[alt]").count() > 0
    page.context.close()


def test_its_numbers_are_those_of_the_run_folder(browser, report, whole_run):
    page, _ = show(browser, report.as_uri(), 1280)
    result = json.loads((whole_run / "trained" / "result.json").read_text())
    found = result["networks"][0]["accuracy"]
    tile = page.locator(".tiles data").first
    assert float(tile.get_attribute("value")) == found
    assert tile.inner_text() == f"{100 * found:.2f} %"
    shown = page.locator("table[data-name=networks] td:nth-child(2) data")
    assert [float(e.get_attribute("value")) for e in shown.all()] == [
        network["accuracy"] for network in result["networks"]
    ]
    page.context.close()


def test_the_tables_open_by_keyboard_and_it_prints_in_light_colours(browser, report):
    page, _ = show(browser, report.as_uri(), 1280, "dark")
    summary = page.locator("#accuracy summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("table[data-name=history]").is_visible()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    keep(page, "report-print")
    page.context.close()


def test_a_comparison_fits_a_phone(browser, whole_run, run, tmp_path):
    path = write_report([whole_run, run], tmp_path / "both.html")
    page, errors = show(browser, path.as_uri(), 390)
    for part in page.locator("details.run").all():
        part.locator("> summary").click()
    assert errors == [] and page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "comparison-390")
    page.context.close()


def test_the_live_page_renews_itself_and_keeps_what_is_open(browser, unfinished):
    watch = Watch([str(unfinished)], port=0)
    thread = threading.Thread(target=watch.serve)
    thread.start()
    try:
        page, errors = show(browser, watch.address, 1280)
        assert "7 of" in page.locator(".status").inner_text()
        page.locator("#accuracy summary").first.click()
        lines = (unfinished / "history.jsonl").read_text().splitlines()
        (unfinished / "history.jsonl").write_text("\n".join([*lines[:7], lines[6], ""]))
        page.locator(".status", has_text="8 of").wait_for()
        assert page.locator("table[data-name=history] tbody tr").count() == 8
        assert page.locator("table[data-name=history]").is_visible()
        page.wait_for_timeout(3500)  # an answer that nothing has changed
        assert errors == []
        keep(page, "watch-1280")
        page.context.close()
    finally:
        watch.close()
        thread.join()
