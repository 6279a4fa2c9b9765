import itertools
import re
from datetime import UTC, datetime

import pytest
from report_samples import HOSTILE, lab_rows, loss_row, report_data, run_row, tracer_row

from logtrace.report import write_report

pytestmark = pytest.mark.browser

RUNS = 211
SORTED_KEYS = "[...document.querySelectorAll('#runs-table tbody tr td:nth-child({}) data')]"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A report on a lab's afternoon; one run in 29 has no wall-clock time."""
    rows = lab_rows(RUNS)
    for row in rows[28::29]:
        row |= {"started_at": None, "ended_at": None, "clock": "none"}
    data = report_data(rows, losses=[loss_row()], tracer=[tracer_row()])
    out = tmp_path_factory.mktemp("lab")
    write_report(data, out)
    return out / "index.html", data


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory):
    fields = ("owner", "comm", "file", "host", "note", "source", "status")
    rows = [run_row(i, **dict.fromkeys(fields, text)) for i, text in enumerate(HOSTILE)]
    out = tmp_path_factory.mktemp("hostile")
    losses = [loss_row(text=text, source=text, reason="rejected") for text in HOSTILE]
    write_report(report_data(rows, losses=losses), out)
    return out / "index.html"


@pytest.fixture(scope="session")
def page_of_nulls(tmp_path_factory):
    """A report on runs of which nothing but the status is known."""
    row = dict.fromkeys(run_row(0)) | {"status": "truncated"}
    rows = [row | {"run_id": f"{number:012x}"} for number in range(3)]
    out = tmp_path_factory.mktemp("nulls")
    write_report(report_data(rows), out)
    return out / "index.html"


def info(browser):
    return browser.texts("#runs-table_info")[0]


def shown(browser):
    """Give how many runs are left by the filters."""
    return int(re.search(r"of ([\d,]+) runs", info(browser))[1])


def drag(browser, start, end):
    """Drag across the chart, from and to fractions of its width."""
    from selenium.webdriver import ActionChains

    plot = browser.one(".plot")
    browser.ask("arguments[0].scrollIntoView({block: 'center'})", plot)
    width = plot.size["width"]
    actions = ActionChains(browser.driver)
    actions.move_to_element_with_offset(plot, int(width * (start - 0.5)), 0).click_and_hold()
    actions.move_to_element_with_offset(plot, int(width * (end - 0.5)), 0).release().perform()


def press(browser, selector, *keys):
    browser.one(selector).send_keys(*keys)


def test_the_page_runs_without_a_complaint_and_asks_nothing_of_a_network(browser, lab):
    page, _ = lab
    browser.open(page)
    assert browser.texts("h1") == ["Traced runs"]
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


def test_the_table_of_runs_shows_a_page_of_them_newest_first(browser, lab):
    page, data = lab
    browser.open(page)
    assert info(browser) == f"1 to 25 of {RUNS} runs"
    ids = browser.texts("#runs-table tbody tr td:first-child")
    assert ids == data.runs["run_id"].head(25).tolist()


def test_a_click_on_a_heading_sorts_by_value_and_not_by_text(browser, lab):
    page, data = lab
    browser.open(page)
    heading = "#runs-table thead th:nth-child(7)"
    values = SORTED_KEYS.format(7) + ".map(e => Number(e.value))"
    browser.one(f"{heading} .dt-column-order").click()
    browser.until(values, sorted(data.runs["read_bytes"])[:25])
    assert browser.one(heading).get_attribute("aria-sort") == "ascending"
    browser.one(f"{heading} .dt-column-order").click()
    browser.until(values, sorted(data.runs["read_bytes"], reverse=True)[:25])


def test_a_heading_sorts_by_the_keyboard_too(browser, lab):
    page, data = lab
    browser.open(page)
    owners = "[...document.querySelectorAll('#runs-table tbody td:nth-child(4)')]"
    for key, last_first in (("\ue007", False), (" ", True)):
        press(browser, "#runs-table thead th:nth-child(4) .dt-column-order", key)
        expected = sorted(data.runs["owner"], reverse=last_first)[:25]
        browser.until(f"{owners}.map(e => e.textContent)", expected)


def test_search_leaves_the_runs_that_match(browser, lab):
    page, data = lab
    browser.open(page)
    press(browser, ".dt-search input[aria-controls=runs-table]", "2021202003")
    assert shown(browser) == (data.runs["owner"] == "2021202003").sum()
    assert set(browser.texts("#runs-table tbody tr td:nth-child(4)")) == {"2021202003"}


def test_pages_of_the_table_follow_one_another(browser, lab):
    page, data = lab
    browser.open(page)
    browser.one("section[aria-labelledby=runs] .dt-paging-button.next").click()
    assert info(browser) == f"26 to 50 of {RUNS} runs"
    ids = browser.texts("#runs-table tbody tr td:first-child")
    assert ids == data.runs["run_id"].iloc[25:50].tolist()


def test_the_status_filter_leaves_the_runs_of_that_status(browser, lab):
    page, data = lab
    browser.open(page)
    browser.one("#filters option[value=no_end]").click()
    assert shown(browser) == (data.runs["status"] == "no_end").sum()
    assert set(browser.texts("#runs-table tbody tr td:nth-child(3)")) == {"no end"}


def test_an_owner_picked_from_the_totals_filters_the_runs_until_its_filter_is_removed(browser, lab):
    page, data = lab
    browser.open(page)
    row = browser.one("section[aria-labelledby=by-owner] tbody tr")
    owner, runs = row.find_element("tag name", "th").text, row.find_element("tag name", "td").text
    row.find_element("css selector", "button.pick").click()
    assert shown(browser) == int(runs) == (data.runs["owner"] == owner).sum()
    assert browser.ask("document.activeElement.id") == "runs"
    browser.one(".chips button").click()
    assert shown(browser) == RUNS


def test_the_chart_draws_a_bar_for_each_hour_and_says_what_they_hold(browser, lab):
    page, data = lab
    browser.open(page)
    assert len(browser.all(".marks .bar-complete")) == len(data.timeline)
    assert len(browser.all(".marks .bar-incomplete")) == (data.timeline["incomplete"] > 0).sum()
    assert len(browser.all(".marks .bar-read")) == len(data.timeline)
    heights = browser.ask(
        "[...document.querySelectorAll('.marks .bar-read')].map(e => +e.getAttribute('height'))"
    )
    expected = data.timeline["read_bytes"] / data.timeline["read_bytes"].max() * max(heights)
    assert heights == pytest.approx(expected.tolist(), rel=0.01)
    total = data.timeline["runs"].sum()
    assert browser.texts(".readout")[0].startswith(f"In all: {total} runs, ")


def test_chart_and_table_agree_on_the_zone_whatever_zone_the_machine_has(browser, lab):
    page, _ = lab
    for zone in ("America/New_York", "Asia/Kolkata"):
        browser.open(page, zone=zone)
        press(browser, ".plot", "\ue010")  # End: the newest bar
        newest = browser.texts("#chart ~ details tbody tr:first-child td:first-child")[0]
        assert browser.texts(".readout")[0].startswith(f"{newest} to ")
        last = browser.texts("#runs-table tbody tr:first-child td:nth-child(2)")[0]
        assert last[:13] == newest[:13] == "2026-11-23 03"


def test_dragging_across_the_chart_zooms_and_the_runs_follow(browser, lab):
    page, _ = lab
    browser.open(page)
    drag(browser, 0.35, 0.6)
    ends = browser.ask("['from', 'to'].map(n => document.forms[0].elements[n].valueAsNumber)")
    ends = [f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" for ms in ends]
    inside = browser.texts(".readout")[0]
    assert inside.startswith("In this window: ")
    assert 0 < shown(browser) < RUNS
    assert inside.startswith(f"In this window: {shown(browser)} runs, ")
    assert browser.texts(".chips .clip") == ["Started {} to {}".format(*ends)]
    browser.one("[name=all]").click()
    assert shown(browser) == RUNS
    assert browser.texts(".chips li") == []


def test_the_chart_is_read_and_zoomed_by_the_keyboard(browser, lab):
    page, data = lab
    browser.open(page)
    press(browser, ".plot", "\ue011")  # Home: the oldest bar
    first = data.timeline.iloc[0]
    assert browser.texts(".readout")[0].startswith(
        f"2026-11-23 00:00:00 to 2026-11-23 01:00:00: {first.runs} runs, "
    )
    press(browser, ".plot", "\ue007")
    assert shown(browser) == first.runs
    press(browser, ".plot", "\ue00c")
    assert shown(browser) == RUNS


def test_the_link_of_a_run_opens_its_page_and_its_page_leads_back(browser, lab):
    page, data = lab
    browser.open(page)
    browser.one("#runs-table tbody tr a").click()
    assert browser.texts("h1") == [f"Run {data.runs['run_id'].iloc[0]}"]
    assert browser.complaints() == []
    browser.one(".back a").click()
    assert browser.driver.current_url == page.as_uri() + "#runs"


def test_names_from_a_log_are_inert_text(browser, hostile_page):
    browser.open(hostile_page)
    assert browser.complaints() == []
    assert browser.requests() == [hostile_page.as_uri()]
    assert browser.ask("document.querySelectorAll('img, [onload], [onerror]').length") == 0
    assert browser.ask("document.scripts.length") == 3
    programs = set(browser.texts("#runs-table tbody tr td:nth-child(5)"))
    assert programs >= {"<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>"}
    assert "\\u202egnp.exe" in programs
    for pick in range(len(browser.all("section[aria-labelledby=by-program] .pick"))):
        browser.all("section[aria-labelledby=by-program] .pick")[pick].click()
        assert shown(browser) == 1
    for link in [e.get_attribute("href") for e in browser.all("#runs-table tbody a")]:
        browser.driver.get(link)
        assert browser.ask("document.querySelectorAll('img, svg, script').length") == 0
    assert browser.complaints() == []


def test_dark_and_light_differ_and_follow_the_system(browser, lab):
    page, _ = lab
    colours = {}
    for dark in (False, True):
        browser.open(page, dark=dark)
        style = "getComputedStyle(document.body)"
        colours[dark] = browser.ask(f"[{style}.backgroundColor, {style}.color]")
    brightness = {k: [sum(map(int, re.findall(r"\d+", c))) for c in v] for k, v in colours.items()}
    assert brightness[False][0] > brightness[False][1]
    assert brightness[True][0] < brightness[True][1]


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_screen_scrolls_sideways_but_within_a_table(
    browser, lab, hostile_page, page_of_nulls, width
):
    runs = sorted((hostile_page.parent / "runs").iterdir())
    for page in (lab[0], hostile_page, runs[-1], page_of_nulls):
        browser.open(page, width=width)
        assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []


def test_without_script_the_totals_and_what_is_missing_can_be_read(browser, lab):
    page, data = lab
    browser.open(page, script=False)
    owners = {e.text for e in browser.all("section[aria-labelledby=by-owner] tbody th")}
    assert owners == set(data.usage["owner"]["owner"])
    assert "The chart needs JavaScript" in browser.one("main").text
    browser.settle()


def test_every_field_has_a_label_every_table_a_caption_and_headings_leave_out_no_level(
    browser, lab
):
    page, _ = lab
    browser.open(page)
    assert (
        browser.ask(
            "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
        )
        == 0
    )
    assert (
        browser.ask("[...document.querySelectorAll('table')].filter(t => !t.caption).length") == 0
    )
    assert browser.ask("document.querySelectorAll('th:not([scope])').length") == 0
    levels = browser.ask("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert max(b - a for a, b in itertools.pairwise(levels)) == 1
    names = browser.ask(
        "[...document.querySelectorAll('[role=region], nav')].map(e => e.ariaLabel)"
    )
    assert None not in names
    assert len(names) == len(set(names))


def test_a_report_of_one_run_and_one_of_none_run_without_a_complaint(browser, tmp_path):
    for count in (0, 1):
        write_report(report_data(lab_rows(count)), tmp_path / str(count))
        browser.open(tmp_path / str(count) / "index.html")
        assert browser.complaints() == []
        assert browser.texts("#total-runs") == [str(count)]
        assert len(browser.all(".marks .bar-complete")) == count
