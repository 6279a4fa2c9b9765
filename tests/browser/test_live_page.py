import re

import pytest
from report_samples import lab_rows, run_row
from serving import served
from store_samples import store_with

from logtrace.store import Position

pytestmark = pytest.mark.browser

RUNS = 211
FIRST = "document.querySelector('#runs-table tbody tr td:first-child')?.textContent"
LIVE = "document.documentElement.dataset.live"


@pytest.fixture
def store(tmp_path):
    return store_with(tmp_path / "store", lab_rows(RUNS))


def visit(browser, url):
    browser.settle()
    browser.driver.get_log("browser")
    browser.driver.get_log("performance")
    browser.driver.get(url)
    browser.until(f"!!{LIVE}", True)
    return browser.ask(LIVE)


def choose(browser, name, text):
    select = browser.one(f"#filters select[name={name}]")
    next(o for o in select.find_elements("tag name", "option") if o.text == text).click()


def store_run(store, number, **changes):
    """Store a run that is newer than all others."""
    row = run_row(RUNS + number, **changes)
    store.host("lab99").append("kmsg:new", Position(number, number), runs=[row])
    return row["run_id"]


def shown(browser):
    return int(re.search(r"of ([\d,]+) runs", browser.texts("#runs-table_info")[0])[1])


def test_a_run_that_is_stored_appears_on_the_open_page(browser, store):
    with served(store) as site:
        visit(browser, site.url)
        assert browser.texts(".live") == ["LiveShow"]
        run = store_run(store, 1)
        browser.until(FIRST, run)
        assert shown(browser) == RUNS + 1
        assert browser.ask("document.getElementById('total-runs').value") == str(RUNS + 1)
        assert browser.complaints() == []
        assert {url.split("?")[0] for url in browser.requests()} == {site.url, f"{site.url}events"}


def test_what_is_new_is_shown_with_filters_order_page_and_place_as_they_were(browser, store):
    with served(store) as site:
        before = visit(browser, site.url)
        choose(browser, "host", "lab01")
        browser.one(".dt-search input[aria-controls=runs-table]").send_keys("abc")
        browser.until("document.querySelectorAll('.dt-processing:not([style*=none])').length", 0)
        browser.one("#runs-table thead th:nth-child(7) .dt-column-order").click()
        browser.one("#runs-table thead th:nth-child(7) .dt-column-order").click()
        # at once: the buttons are made anew whenever the table is drawn
        browser.ask(
            "document.querySelector('[aria-labelledby=runs] .dt-paging-button.next').click()"
        )
        browser.ask("document.getElementById('runs').scrollIntoView()")
        kept = (
            "[scrollY, document.querySelector('#filters select').value,"
            " document.querySelector('.dt-search input[aria-controls=runs-table]').value,"
            " document.querySelector('#runs-table thead th:nth-child(7)').ariaSort,"
            " document.querySelector('#runs-table_info').textContent]"
        )
        state = browser.ask(kept)
        found = shown(browser)
        browser.ask("document.activeElement.blur()")
        store_run(store, 1, host="lab01", read_bytes=0)
        browser.until(f"{LIVE} !== '{before}' && !!{LIVE}", True)
        after = browser.ask(kept)
        assert after[:4] == state[:4]
        assert state[0] > 0
        assert shown(browser) == found + 1
        more = {str(found): str(found + 1), str(RUNS): str(RUNS + 1)}
        assert after[4] == re.sub(r"\d+", lambda m: more.get(m[0], m[0]), state[4])
        assert browser.complaints() == []


def test_what_was_chosen_in_a_table_and_a_window_of_time_stay_and_an_open_end_follows(
    browser, store
):
    with served(store, "--by", "status") as site:
        before = visit(browser, site.url)
        browser.one("button.pick[data-value=no_end]").click()
        browser.ask(
            "(() => { const field = document.forms.filters.elements.from;"
            " field.value = field.value.slice(0, 11) + '17:00'; })()"
        )
        browser.ask("document.forms.filters.elements.from.dispatchEvent(new Event('change'))")
        chips = browser.texts("#filters .chips .clip")
        assert chips[0].startswith("Started 2026-11-22 17:00:00 to ")
        assert chips[1].endswith(": no_end")
        found = shown(browser)
        assert 0 < found < RUNS
        browser.ask("document.activeElement.blur()")
        store_run(store, 30, status="no_end")
        browser.until(f"{LIVE} !== '{before}' && !!{LIVE}", True)
        assert shown(browser) == found + 1
        assert browser.texts("#filters .chips .clip")[1] == chips[1]


def test_who_is_busy_with_the_page_is_told_and_shown_it_when_asked(browser, store):
    with served(store) as site:
        before = visit(browser, site.url)
        search = browser.one(".dt-search input[aria-controls=runs-table]")
        search.send_keys("lab")
        store_run(store, 1)
        store_run(store, 2)
        browser.until("document.querySelector('.live [role=status]').textContent", "2 new runs")
        assert browser.ask(LIVE) == before
        browser.one(".live button").click()
        browser.until(f"!!{LIVE} && {LIVE} !== '{before}'", True)
        assert shown(browser) == RUNS + 2
        value = "document.querySelector('.dt-search input[aria-controls=runs-table]').value"
        assert browser.ask(value) == "lab"


def test_a_page_whose_server_is_gone_says_so_and_stays(browser, store):
    with served(store) as site:
        visit(browser, site.url)
        site.process.kill()
        text = "document.querySelector('.live [role=status]').textContent"
        browser.until(f"{text}.startsWith('Not connected')", True)
        assert shown(browser) == RUNS


def test_a_run_s_page_is_opened_from_the_page_and_leads_back(browser, store):
    with served(store) as site:
        visit(browser, site.url)
        run = browser.ask(FIRST)
        browser.one("#runs-table tbody tr a").click()
        assert browser.texts("h1") == [f"Run {run}"]
        browser.one(".back a").click()
        browser.until(f"!!{LIVE}", True)
        assert browser.complaints() == []


def test_the_address_with_the_token_lets_in_and_is_left_at_once(browser, store, tmp_path):
    with served(store, "--listen", "0.0.0.0") as site:
        here = f"http://127.0.0.1:{site.port}/"
        browser.driver.get(here)
        assert "logtrace serve printed" in browser.texts("body")[0]
        # as from somebody's message: the browser takes it for another site's doing
        message = tmp_path / "message.html"
        message.write_text(f"<a href='{here}?token={site.token}'>the lab's report</a>")
        browser.open(message)
        browser.one("a").click()
        browser.until(f"!!{LIVE}", True)
        assert browser.driver.current_url == here
        assert browser.ask("document.cookie") == ""
        browser.until(FIRST, store_run(store, 1))
        assert browser.complaints() == []
