import itertools
import json
import re
from datetime import timedelta
from importlib import metadata
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from conftest import skip
from lab_samples import NOW, Lab
from report_samples import (
    HOSTILE,
    detail_row,
    details_frames,
    lab_rows,
    loss_row,
    report_data,
    run_row,
    tracer_row,
)
from store_samples import store_with

from logtrace import schema
from logtrace.engine import Engine, Filters
from logtrace.overview import gather
from logtrace.report import read_csv, write_report

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
def detailed_run(tmp_path_factory):
    """The page of a run of which files and calls are known."""
    run = run_row(0, wide=True, detail=True, lost_children=2, parent_pid=5)
    counts = dict.fromkeys(("opens", "closes", "reads", "writes", "seeks"), 1)
    sizes = {"read_bytes": 2048, "written_bytes": 0, "open_at_end": True}
    files = [detail_row(run, descriptor=3, path="/home/lab/abc.txt", **counts, **sizes)]
    calls = [detail_row(run, call="pread64", calls=4, errors=1, moved_bytes=400, time_ns=81234)]
    out = tmp_path_factory.mktemp("detailed")
    write_report(report_data([run], **details_frames(files, calls)), out)
    return next((out / "runs").iterdir())


@pytest.fixture(scope="session")
def page_of_nulls(tmp_path_factory):
    """A report on runs of which nothing but the status is known."""
    row = dict.fromkeys(run_row(0)) | {"status": "truncated"}
    rows = [row | {"run_id": f"{number:012x}"} for number in range(3)]
    out = tmp_path_factory.mktemp("nulls")
    write_report(report_data(rows), out)
    return out / "index.html"


@pytest.fixture(scope="session")
def csv(lab):
    """The runs of the lab's report as pandas reads them from its CSV, with their hour."""
    runs = read_csv(lab[0].parent / "runs.csv", schema.RUNS)
    local = runs["started_at"].dt.tz_convert("Asia/Seoul").dt.tz_localize(None)
    return runs.assign(hour=local.dt.floor("h"))


def info(browser):
    return browser.texts("#runs-table_info")[0]


def shown(browser):
    """Give how many runs are left by the filters."""
    found = re.search(r"of ([\d,]+) runs", info(browser))
    return int(found[1]) if found else 0


def choose(browser, **names):
    """Choose names in the bar of filters; None for all."""
    for field, name in names.items():
        options = browser.all(f"#filters [name={field}] option")
        next(each for each in options if each.text == (name or "All")).click()


def drag(browser, start, end):
    """Drag across the chart of runs, from and to fractions of its width."""
    from selenium.webdriver import ActionChains

    plot = browser.one("#runs-chart")
    browser.ask("arguments[0].scrollIntoView({block: 'center'})", plot)
    width = plot.size["width"]
    actions = ActionChains(browser.driver)
    actions.move_to_element_with_offset(plot, int(width * (start - 0.5)), 0).click_and_hold()
    actions.move_to_element_with_offset(plot, int(width * (end - 0.5)), 0).release().perform()


def press(browser, selector, *keys):
    browser.one(selector).send_keys(*keys)


def window(browser):
    """Give the window of time in the bar of filters, naive as it stands there."""
    fields = "['from', 'to'].map(n => document.getElementById('filters').elements[n].value)"
    return [pd.Timestamp(text) for text in browser.ask(fields)]


def bars(browser):
    """Give what the chart of runs tells those who can't see it, bar for bar."""
    script = "[...document.querySelectorAll('#runs-chart .layer_0_marks [aria-label]')]"
    return browser.ask(f"{script}.map(e => e.ariaLabel)")


def numbers(browser, selector):
    """Give the exact numbers of cells or tiles."""
    return browser.ask(
        "[...document.querySelectorAll(arguments[0])].map(e => Number(e.value))", selector
    )


def usage(browser, key):
    """Give runs and bytes by name, from a table of usage."""
    rows = f"section[aria-labelledby=by-{key}] tbody tr"
    names = browser.texts(f"{rows} th")
    runs, read = (numbers(browser, f"{rows} td:nth-child({place}) data") for place in (2, 4))
    return dict(zip(names, zip(runs, read, strict=True), strict=True))


def of_pandas(runs, column):
    groups = runs.groupby(column)["read_bytes"].agg(["size", "sum"])
    return {name: (row["size"], row["sum"]) for name, row in groups.iterrows()}


def check_page(browser, runs, everywhere):
    """Check charts and tables of the page against the runs that they should be of."""
    tiles = {name: numbers(browser, f"#total-{name}") for name in ("runs", "incomplete", "hosts")}
    assert tiles == {
        "runs": [len(runs)],
        "incomplete": [(runs["status"] != "complete").sum()],
        "hosts": [runs["host"].nunique()],
    }
    assert numbers(browser, "#total-written_bytes") == [runs["written_bytes"].sum()]
    assert shown(browser) == len(runs)
    assert usage(browser, "owner") == of_pandas(runs, "owner")
    assert usage(browser, "program") == of_pandas(runs, "comm")
    told = {bar[:19]: int(re.search(r": ([\d,]+) run", bar)[1]) for bar in bars(browser)}
    assert told == {str(hour): runs for hour, runs in runs["hour"].value_counts().items()}
    rows = browser.texts("#chart ~ details tbody td:nth-child(2)")
    assert sorted(map(int, rows)) == sorted(told.values())
    hours = browser.texts("#week-chart tbody tr:first-child td")
    assert list(map(int, hours)) == [sum(runs["hour"].dt.hour == hour) for hour in range(24)]
    words = (
        f"{len(runs)} of {everywhere} runs" if len(runs) < everywhere else f"All {everywhere} runs"
    )
    assert browser.texts("#filtered") == [words]


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
    browser.one("#of-status option[value=no_end]").click()
    assert shown(browser) == (data.runs["status"] == "no_end").sum()
    assert set(browser.texts("#runs-table tbody tr td:nth-child(3)")) == {"no end"}


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"owner": "2021202003"},
        {"comm": "./a.out"},
        {"host": "lab04", "comm": "abc"},
        {"host": "lab02", "owner": "2021202001", "comm": "test"},
    ],
    ids=lambda names: "-".join(names) or "none",
)
def test_charts_and_tables_show_what_pandas_finds_in_the_csv_for_the_names_chosen(
    browser, lab, csv, names
):
    browser.open(lab[0])
    choose(browser, **names)
    runs = csv[(csv[list(names)] == pd.Series(names, dtype=str)).all(axis="columns")]
    assert len(runs) > 0
    check_page(browser, runs, RUNS)
    choose(browser, **dict.fromkeys(names))
    check_page(browser, csv, RUNS)


def test_charts_and_tables_show_what_pandas_finds_in_the_csv_for_a_window_and_a_name(
    browser, lab, csv
):
    browser.open(lab[0])
    drag(browser, 0.45, 0.56)
    begin, end = window(browser)
    inside = csv[(csv["hour"] >= begin) & (csv["hour"] < end)]
    assert 0 < len(inside) < RUNS - csv["hour"].isna().sum()
    check_page(browser, inside, RUNS)
    choose(browser, host="lab01")
    check_page(browser, inside[inside["host"] == "lab01"], RUNS)
    browser.one("[name=clear]").click()
    check_page(browser, csv, RUNS)


def test_a_combination_that_no_run_has_leaves_empty_charts_and_tables(browser, lab):
    browser.open(lab[0])
    press(browser, "#runs-chart", "\ue011", "\ue007")
    choose(browser, host="lab00", owner="2021202000", comm="test")
    choose(browser, owner="2021202001")
    assert browser.texts("#filtered") == [f"{shown(browser)} of {RUNS} runs"]
    assert browser.texts("#total-runs") == [str(shown(browser))]
    assert len(bars(browser)) == (shown(browser) > 0)
    assert browser.complaints() == []


def test_what_can_not_be_told_under_a_filter_is_no_number(browser, lab):
    browser.open(lab[0])
    files = "section[aria-labelledby=by-owner] tbody td:nth-child(12)"
    assert set(browser.texts(files)) == {"1"}
    choose(browser, comm="test")
    assert set(browser.texts(f"{files} .vh")) == {"not known under a filter"}
    choose(browser, comm=None)
    assert set(browser.texts(files)) == {"1"}


def test_a_name_clicked_in_the_usage_filters_the_page_until_its_filter_is_removed(
    browser, lab, csv
):
    browser.open(lab[0])
    pick = browser.all("section[aria-labelledby=by-owner] button.pick")[2]
    owner = pick.text
    pick.click()
    assert browser.texts(".chips .clip") == [f"Owner: {owner}"]
    check_page(browser, csv[csv["owner"] == owner], RUNS)
    browser.one(".chips button").click()
    assert browser.texts(".chips li") == []
    check_page(browser, csv, RUNS)


def test_findings_and_incidents_follow_the_filters(browser, gathered_report):
    browser.open(gathered_report / "index.html")
    owners = "section[aria-labelledby=stands-out] tbody td:nth-child(4)"
    assert browser.texts(owners) == ["o3", "o2", "o1", "o0"]
    incidents = "section[aria-labelledby=incidents] .follows tbody td:nth-child(3)"
    assert browser.texts(incidents) == ["BUG: a fault"]
    choose(browser, host="lab1")
    assert browser.texts(owners) == ["o3", "o1"]
    assert browser.texts(incidents) == []
    choose(browser, owner="o1")
    assert browser.texts(owners) == ["o1"]
    browser.one("[name=clear]").click()
    assert browser.texts(owners) == ["o3", "o2", "o1", "o0"]
    assert browser.complaints() == []


def test_numbers_beyond_what_javascript_holds_exactly_stay_exact(browser, tmp_path):
    sizes = (2**62 + 1, 2**61 + 3, 7)
    rows = [run_row(i, read_bytes=size, host=f"lab{i % 2}") for i, size in enumerate(sizes)]
    usage = {"host": report_data(rows).usage["owner"].assign(owner="lab0")}
    usage["host"] = usage["host"].rename(columns={"owner": "host"})
    write_report(report_data(rows, usage=usage), tmp_path)
    browser.open(tmp_path / "index.html")
    choose(browser, host="lab0")
    total = f"{2**62 + 8:,} bytes"
    assert browser.ask("document.getElementById('total-read_bytes').title") == total
    cell = "document.querySelector('section[aria-labelledby=by-host] td:nth-child(4) data')"
    assert browser.ask(f"[{cell}.value, {cell}.title]") == [str(2**62 + 8), total]
    assert browser.complaints() == []


def test_chart_and_table_agree_on_the_zone_whatever_zone_the_machine_has(browser, lab):
    page, _ = lab
    for zone in ("America/New_York", "Asia/Kolkata"):
        browser.open(page, zone=zone)
        press(browser, "#runs-chart", "\ue010")  # End: the newest bar
        newest = browser.texts("#chart ~ details tbody tr:first-child td:first-child")[0]
        assert browser.texts("#chart .readout")[0].startswith(f"{newest} to ")
        last = browser.texts("#runs-table tbody tr:first-child td:nth-child(2)")[0]
        assert last[:13] == newest[:13] == "2026-11-23 03"
        labels = browser.texts("#runs-chart .role-axis-label text")
        assert "03:00" in labels


def test_dragging_across_a_chart_zooms_and_the_page_follows(browser, lab):
    page, _ = lab
    browser.open(page)
    drag(browser, 0.35, 0.6)
    begin, end = window(browser)
    inside = browser.texts("#chart .readout")[0]
    assert 0 < shown(browser) < RUNS
    assert inside.startswith(f"In this window: {shown(browser)} runs, ")
    assert browser.texts(".chips .clip") == [f"Started {begin} to {end}"]
    browser.one("[name=all]").click()
    assert shown(browser) == RUNS
    assert browser.texts(".chips li") == []


def test_buttons_move_and_change_the_window(browser, lab):
    browser.open(lab[0])
    for name in ("earlier", "later", "out", "all"):
        assert not browser.one(f"[name={name}]").is_enabled()
    whole = window(browser)
    browser.one("[name=in]").click()
    halved = window(browser)
    assert (halved[1] - halved[0]) * 2 == whole[1] - whole[0]
    browser.one("[name=earlier]").click()
    assert window(browser)[0] < halved[0]
    browser.one("[name=later]").click()
    assert window(browser) == halved
    browser.one("[name=out]").click()
    assert window(browser) == whole


def test_a_window_can_be_typed_and_snaps_to_whole_buckets(browser, lab, csv):
    browser.open(lab[0])
    for field, text in (("from", "2026-11-23T01:10"), ("to", "2026-11-23T02:50")):
        script = f"document.getElementById('filters').elements['{field}']"
        browser.driver.execute_script(
            f"{script}.value = '{text}'; {script}.dispatchEvent(new Event('change'))"
        )
    assert window(browser) == [pd.Timestamp("2026-11-23 01:00"), pd.Timestamp("2026-11-23 03:00")]
    check_page(browser, csv[csv["hour"].dt.hour.isin([1, 2])], RUNS)


def test_a_chart_is_read_and_zoomed_by_the_keyboard(browser, lab):
    page, data = lab
    browser.open(page)
    press(browser, "#bytes-chart", "\ue011")  # Home: the oldest bar
    first = data.timeline.iloc[0]
    readout = browser.texts("#chart .readout")[0]
    assert readout.startswith(f"2026-11-23 00:00:00 to 2026-11-23 01:00:00: {first.runs} runs, ")
    assert readout.rstrip(".") == bars(browser)[0]
    press(browser, "#bytes-chart", "\ue007")
    assert shown(browser) == first.runs
    press(browser, "#bytes-chart", "\ue00c")
    assert shown(browser) == RUNS


def test_bars_are_as_high_as_their_numbers(browser, lab):
    page, data = lab
    browser.open(page)
    boxes = (
        "[...document.querySelectorAll('#runs-chart .layer_1_marks path')].map(e => e.getBBox())"
    )
    parts = browser.ask(f"{boxes}.map(box => [box.x, box.height])")
    heights = pd.DataFrame(parts, columns=["x", "height"]).groupby("x")["height"].sum()
    expected = data.timeline["runs"] / data.timeline["runs"].max() * heights.max()
    assert heights.tolist() == pytest.approx(expected.tolist(), abs=0.6)
    fills = browser.all("#runs-chart .layer_1_marks path")
    assert {each.get_attribute("fill") for each in fills} == {
        "var(--complete)",
        "url(#hatch-incomplete)",
    }


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
    assert browser.ask("document.scripts.length") == 4
    programs = set(browser.texts("#runs-table tbody tr td:nth-child(5)"))
    assert programs >= {"<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>"}
    assert "\\u202egnp.exe" in programs
    for pick in range(len(browser.all("section[aria-labelledby=by-program] .pick"))):
        browser.all("section[aria-labelledby=by-program] .pick")[pick].click()
        assert shown(browser) == 1
        assert len(browser.all("section[aria-labelledby=by-owner] tbody tr")) == 1
        browser.one("[name=clear]").click()
    for field in ("host", "owner", "comm"):
        options = browser.texts(f"#filters [name={field}] option")
        assert len(options) == 1 + len(HOSTILE)
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
    assert "The charts need JavaScript" in browser.one("main").text
    assert not browser.one("#filters").is_displayed()
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
        assert len(bars(browser)) == count


def test_a_browser_that_can_not_unpack_the_data_says_so_and_shows_the_rest(browser, lab):
    call = browser.driver.execute_cdp_cmd
    old = call(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        browser.open(lab[0], script=False)
        browser.settle()
        browser.driver.get(lab[0].as_uri())
        assert "The charts need JavaScript (a browser of 2023 or later)" in browser.one("main").text
        assert browser.complaints() == []
    finally:
        call("Page.removeScriptToEvaluateOnNewDocument", old)


@pytest.fixture(scope="session")
def gathered_report(tmp_path_factory):
    """A report on a store: with what stands out, what the kernel reported, and lines."""
    rows = [
        run_row(i, run_id=f"{i:016x}", open_calls=9, host=f"lab{i % 2}", owner=f"o{i}")
        for i in range(4)
    ]
    hit = rows[0]
    names = ("host", "boot_id", "first_seq", "last_seq", "pid", "comm", "source")
    incident = {name: hit[name] for name in names} | {
        "incident_id": "01" * 8, "at": hit["started_at"], "type": "oops", "module": "m",
        "function": "f", "message": "BUG: a fault", "fingerprint": "f" * 16, "report": "BUG",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("gathered")
    store = store_with(folder / "store", rows, incidents=[incident])
    engine, zone = Engine(store, "Asia/Seoul"), ZoneInfo("Asia/Seoul")
    now = rows[-1]["started_at"] + timedelta(hours=1)
    groupings = [["owner"], ["program"], ["host"], ["file"]]
    data = gather(engine, Filters(), groupings, zone=zone, now=now, pages=True)
    write_report(data, folder / "out")
    return folder / "out"


@pytest.fixture(scope="session")
def axe():
    try:
        found = metadata.distribution("axe-playwright-python")
    except metadata.PackageNotFoundError:
        skip("axe is not installed: pip install 'logtrace[dev]'")
    return found.locate_file("axe_playwright_python/axe.min.js").read_text()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_violation(
    browser, lab, detailed_run, gathered_report, lab_of_many, axe, width, dark
):
    gathered = gathered_report / "index.html", next((gathered_report / "runs").iterdir())
    gathered = *gathered, lab_of_many
    for page in (lab[0], detailed_run, *gathered):
        browser.open(page, width=width, dark=dark)
        if page == lab[0]:
            choose(browser, owner="2021202003")
            browser.driver.execute_script(
                "for (const each of document.querySelectorAll('details')) each.open = true"
            )
        browser.driver.execute_script(axe)
        found = browser.driver.execute_async_script(
            "axe.run().then(found => arguments[0](JSON.stringify(found.violations)))"
        )
        told = [
            (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]])
            for each in json.loads(found)
        ]
        assert told == []


def test_a_printed_page_has_its_charts_and_no_controls(browser, lab):
    browser.open(lab[0], dark=True)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.one("#runs-chart svg").is_displayed()
    for control in ("#filters .fields", "#chart .buttons", ".dt-paging", "nav"):
        assert not browser.one(control).is_displayed()
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture(scope="session")
def lab_of_many(tmp_path_factory):
    """A report on some machines, of which one is silent and one has a clock that is ahead."""
    engine = Engine(Lab(tmp_path_factory.mktemp("many"), 24, 4), "Asia/Seoul")
    groupings = [["owner"], ["host"]]
    data = gather(engine, Filters(), groupings, zone=ZoneInfo("Asia/Seoul"), now=NOW)
    out = tmp_path_factory.mktemp("many-out")
    write_report(data, out)
    return out / "index.html"


def test_machines_are_a_page_of_rows_those_first_that_need_a_look(browser, lab_of_many):
    browser.open(lab_of_many)
    assert browser.texts("#hosts-table_info") == ["1 to 10 of 24 machines"]
    states = browser.texts("#hosts-table tbody td:nth-child(2)")
    assert states[:4] == ["silent", "clock ahead by 1 h 55 min", "as usual", "as usual"]
    assert browser.complaints() == []


def test_a_machine_is_searched_for_and_chosen_by_a_click(browser, lab_of_many):
    browser.open(lab_of_many)
    press(browser, "#machines ~ .dt-container input", "lab0017")
    browser.until(
        "document.getElementById('hosts-table_info').textContent.includes('1 to 1')", True
    )
    browser.one("#hosts-table button.pick").click()
    assert browser.texts(".chips .clip") == ["Host: lab0017"]
    assert shown(browser) == 4
    browser.one("#filters [name=clear]").click()
    press(browser, "#machines ~ .dt-container input", *["\b"] * 7)
    assert browser.texts("#hosts-table_info") == ["1 to 10 of 24 machines"]


def test_without_script_machines_are_where_the_page_says(browser, lab_of_many):
    browser.open(lab_of_many, script=False)
    assert any("hosts.csv" in each.text for each in browser.all("#machines ~ noscript"))
    assert browser.one("#machines ~ .tiles").is_displayed()
