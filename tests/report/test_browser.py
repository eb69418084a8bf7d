"""The report in a real browser. Screenshots are kept under build/."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

import ddpnas
from ddpnas import write_report
from ddpnas.report.watch import Watch
from ddpnas.runs import Run

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


# What is cut off: content wider than its box, or text of a drawing outside of the drawing.
CUT_OFF = """
() => [...document.querySelectorAll("main *:not(svg *)")]
    .filter(e => e.checkVisibility() && e.clientWidth && e.scrollWidth > e.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 120))
  .concat([...document.querySelectorAll("svg text")].filter(text => {
    const box = text.getBoundingClientRect(), svg = text.closest("svg").getBoundingClientRect();
    return box.width && (box.left < svg.left - 1 || box.right > svg.right + 1
      || box.top < svg.top - 1 || box.bottom > svg.bottom + 1);
  }).map(text => text.outerHTML.slice(0, 120)))
"""

# Pairs of texts that cover each other. Slanted texts are left out: their boxes do overlap.
OVERLAPPING = """
() => {
  const found = [], seen = [];
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest("title, desc, thead")
        || (parent.getAttribute("transform") ?? "").includes("rotate")) continue;
    const range = document.createRange(), scroll = parent.closest("details .scroll");
    range.selectNodeContents(node);
    for (const box of range.getClientRects())
      if (!scroll || box.bottom <= scroll.getBoundingClientRect().bottom)
        seen.push([box.top, box.bottom, box.left, box.right, node]);
  }
  seen.sort((a, b) => a[0] - b[0]);
  seen.forEach((a, i) => {
    for (let k = i + 1; k < seen.length && seen[k][0] < a[1] - 4; k++) {
      const b = seen[k];
      if (b[4] !== a[4] && Math.min(a[3], b[3]) - Math.max(a[2], b[2]) > 2)
        found.push(`${a[4].data.slice(0, 50)} | ${b[4].data.slice(0, 50)}`);
    }
  });
  return found;
}
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


@pytest.fixture(scope="module")
def extreme(whole_run, tmp_path_factory):
    """Return the report of a run with 100 classes, many networks and long names everywhere."""
    run = shutil.copytree(whole_run, tmp_path_factory.mktemp("extreme") / ("a-long-name-" * 6))
    long = "an_unbroken_and_rather_long_name_of_an_option_with_many_words"
    for path in [*run.glob("*.json*"), *run.glob("trained/*.json"), run / "config.yaml"]:
        text = path.read_text().replace("conv3", long)
        path.write_text(
            text.replace('"toy"', '"own.py:network"').replace(": toy", ": own.py:network")
        )
    classes = [f"A class with a long name WWW {i} and \u6f22\u5b57\u6f22\u5b57" for i in range(100)]
    about = json.loads((run / "trained" / "architecture.json").read_text())
    result = json.loads((run / "trained" / "result.json").read_text())
    confusion = [[7 if i == k else (i + k) % 3 for k in range(100)] for i in range(100)]
    found = result["networks"][0] | {"items": sum(map(sum, confusion))}
    costs = {f"a_cost_with_a_long_name_{i}": 123456789.0 for i in range(6)}
    found |= {"costs": found["costs"] | costs}
    names = [n["name"] for n in result["networks"]]
    names += [f"mobilenet_v3_large_with_a_long_name_x{i}" for i in range(6)]
    networks = [found | {"name": name, "confusion": confusion} for name in names]
    (run / "trained" / "architecture.json").write_text(json.dumps(about | {"classes": classes}))
    result |= {"classes": classes, "networks": networks}
    (run / "trained" / "result.json").write_text(json.dumps(result))
    terms = {((d.name, long),): 1e9 / 3 for d in Run(run).decision_space.decisions}
    table = ddpnas.CostTable("energy_of_a_long_name", "millijoules per image", 1.0, terms)
    compared = write_report([run, whole_run], run.parent / "report.html")
    return compared, write_report(run, costs=[table])


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


def check_layout(browser, path):
    page, _ = show(browser, path.as_uri(), 600)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for width in (600, 900, 1200, 1500, 1900):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF) == [], width
        assert page.evaluate(OVERLAPPING) == [], width
    page.context.close()


def test_nothing_overlaps_or_is_cut_off(browser, report):
    check_layout(browser, report)


@pytest.mark.slow
def test_nothing_overlaps_or_is_cut_off_with_many_long_names(browser, extreme):
    for path in extreme:
        check_layout(browser, path)


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
    assert pictures.count() >= 8
    for picture in pictures.all():
        box = picture.bounding_box()
        assert box["width"] > 100 and box["height"] > 5
        assert len(picture.get_attribute("aria-label")) > 15
    names = ["accuracy", "distribution", "effects", "frontier", "skips", "training"]
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
        page.evaluate("document.querySelector('main').dataset.kept = true")
        for _ in range(2):  # the second is asked for once the first has changed nothing
            page.wait_for_event("response")
        assert page.locator("main[data-kept]").count() == 1 and errors == []
        keep(page, "watch-1280")
        page.context.close()
    finally:
        watch.close()
        thread.join()
