"""The page in a real browser: it draws, stays silent, asks no network for anything, and fits its window."""

import os
from pathlib import Path

import pytest

import hubtune
from hubtune import report

pytestmark = pytest.mark.browser
BROWSER = Path(os.environ.get("HUBTUNE_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
EVIL = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b>b</b> &amp; $x^2$"]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not BROWSER.exists():
        pytest.skip(f"no browser at {BROWSER}; name one in HUBTUNE_CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(BROWSER), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(make_record, make_comparison, make_run, tmp_path_factory):
    """The address of a page for each kind of run, and how many charts it should draw."""
    usual, evil, many = make_record(), make_record(classes=3, models=5), make_record(classes=102, models=40, wrong=3)
    usual["search"]["rows"][4]["card"]["params"] = None
    evil["task"]["class_names"] = EVIL
    evil["search"]["rows"][1]["name"] = evil["search"]["picks"][0] = evil["search"]["picks"][0] + "x" * 200
    evil["search"]["rows"][0]["name"] = EVIL[0]
    ranked = {key: usual[key] for key in ("format", "created", "request", "task", "search")} | {"kind": "tune"}
    runs = {"usual": (usual, 5), "evil": (evil, 5), "many": (many, 5), "ranked": (ranked, 1), "empty": ({"format": 1}, 0)}
    runs["compared"] = (make_comparison(), 3)
    root = tmp_path_factory.mktemp("pages")
    made = {name: (report.write(make_run(root / name, record)).as_uri(), charts) for name, (record, charts) in runs.items()}
    return made | {"regret": (report.write_regret(regret_study(), root / "regret.html").as_uri(), 9)}


def regret_study():
    """Of six models, one of them called like an element, on twenty tasks."""
    rows = [
        {"model": f"model {i}" if i else EVIL[0], "task": f"a task with a name {j}", "accuracy": (3 * i + 5 * j) % 11 / 11}
        | {"upstream_images": i, "linear": (i * j) % 7, EVIL[1]: (i + j) % 5}
        for i in range(6)
        for j in range(20)
    ]
    return hubtune.regret(rows, log_odds=True).to_dict()


@pytest.fixture
def opened(browser):
    """Open an address; at the end of the test, nothing may have gone wrong in it."""
    troubles: list[str] = []
    contexts = []

    def open_(address: str, width: int, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        contexts[-1].set_default_timeout(240_000)  # a busy machine takes long to read five megabytes
        page = contexts[-1].new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(f"request: {request.url}"))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


def check_that_it_draws_and_fits(page, charts: int):
    assert page.locator(".plot").count() == charts
    for plot in page.locator(".plot").all():
        plot.locator("svg.main-svg").first.wait_for(state="attached")
        assert plot.locator(".trace, .hm image").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("svg a, svg script, .plot img").count() == 0
    for width in (760, 420, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "(w) => [...document.querySelectorAll('.plot svg.main-svg')].every((svg) => svg.clientWidth <= w)", arg=width
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["many", "empty", "compared", "regret"])
def test_a_page_draws_and_fits(opened, pages, name):
    address, charts = pages[name]
    check_that_it_draws_and_fits(opened(address, 1280), charts)


def test_one_choice_of_a_proxy_serves_all_charts(opened, pages):
    page = opened(pages["regret"][0], 1280)
    before = page.locator("#pool-0-chart-7 .xtitle").text_content()
    page.get_by_role("button", name=EVIL[1]).click()
    assert page.evaluate("[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.view === '1')")
    assert page.locator("#pool-0-chart-7 .xtitle").text_content() != before


def test_tags_in_labels_are_shown_as_text(opened, pages):
    address, charts = pages["evil"]
    page = opened(address, 1280)
    labels = page.locator("#confusion-chart .ytick text").all_text_contents()
    dots = "\N{HORIZONTAL ELLIPSIS}"
    assert labels == [f"<script>alert({dots}script>", f"<img src=x one{dots}ert(1)>", EVIL[2]]
    assert page.locator("#confusion-chart .ytick tspan[style*='bold']").count() == 0
    check_that_it_draws_and_fits(page, charts)


def test_a_page_opened_on_a_narrow_dark_screen(opened, pages):
    page = opened(pages["usual"][0], 400, "dark")
    assert page.locator(".plot svg.main-svg").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"


def test_the_ranking_sorts_and_changes_its_axis_and_theme(opened, pages):
    page = opened(pages["ranked"][0], 1280)
    table = page.locator("#ranking table.sortable")
    column = table.locator("thead th").all_text_contents().index("Parameters") + 1
    orders = []
    for direction in ("ascending", "descending"):
        table.get_by_role("button", name="Parameters").click()
        assert table.locator(f"th[aria-sort='{direction}']").text_content() == "Parameters"
        orders.append(table.locator(f"tbody tr td:nth-child({column})").all_text_contents())
    assert orders[0] != orders[1]
    assert orders[0][:-1] == orders[1][:-1][::-1]
    assert orders[0][-1] == orders[1][-1] == "\N{EN DASH}"

    title = page.locator("#ranking-chart .xtitle")
    assert title.text_content() == "parameters"
    page.get_by_role("button", name="FLOPs").first.click()
    page.wait_for_function("document.querySelector('#ranking-chart .xtitle').textContent === 'FLOPs an image'")
    before = title.evaluate("(e) => getComputedStyle(e).fill")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(old) => getComputedStyle(document.querySelector('#ranking-chart .xtitle')).fill !== old", arg=before)
