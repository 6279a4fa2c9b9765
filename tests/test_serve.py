import builtins
import json
import re
import signal
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from report_samples import HOSTILE, lab_rows, run_row
from serving import PATIENCE_S, served
from store_samples import rows_of, store_with

from logtrace.board import Board
from logtrace.cli import cli
from logtrace.engine import Engine, Filters
from logtrace.store import Position

RUN = "86cf4f005cd32ba5"


def store_more(store, *changes, source="kmsg:more"):
    rows = rows_of(*changes)
    store.host("lab01").append(source, Position(1, 1), runs=rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_with(tmp_path_factory.mktemp("served"), rows_of({"run_id": RUN}, {"comm": "ls"}))


@pytest.fixture(scope="module")
def site(store):
    with served(store) as site:
        yield site


@pytest.fixture(scope="module")
def open_to_all(store):
    with served(store, "--listen", "0.0.0.0") as site:
        yield site


# What is served


def runs_on(answer):
    return int(re.search(r'id="total-runs"[^>]* value="(\d+)"', answer.text)[1])


def test_the_page_is_that_of_a_report_and_may_connect_to_its_own_server_alone(site):
    answer = site.ask()
    assert answer.status == 200
    assert runs_on(answer) == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', answer.text)[1]
    directives = policy.replace("&#39;", "'").split("; ")
    assert "default-src 'none'" in directives
    assert [one for one in directives if one.startswith("connect-src")] == ["connect-src 'self'"]
    assert runs_on(site.ask("/index.html")) == 2


def test_a_run_has_its_page_and_tables_come_as_csv(site):
    page = site.ask(f"/runs/{RUN}.html")
    assert (page.status, f"Run {RUN}" in page.text) == (200, True)
    table = site.ask("/runs.csv")
    assert table.headers["Content-Type"].startswith("text/csv")
    assert RUN in table.text
    assert site.ask("/by-program.csv").text.splitlines()[0].startswith("program,runs,")


@pytest.mark.parametrize(
    "path",
    [
        *("/runs/0000000000000000.html", "/runs/86cf.html", "/runs/%25.html", "/nothing.csv"),
        *("/..%2f..%2fetc%2fpasswd.csv", "/runs/../../etc/passwd", "/static/x.js", "/runs/"),
    ],
)
def test_what_there_is_not_is_not_found(site, path):
    assert site.ask(path).status == 404


def test_the_other_links_of_the_page_lead_to_something(site):
    links = set(re.findall(r'href="([\w./-]+\.csv)"', site.ask().text))
    assert "runs.csv" in links
    assert {link: site.ask(f"/{link}").status for link in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize("path", ["/", "/runs.csv", f"/runs/{RUN}.html", "/events", "/nothing"])
def test_every_answer_tells_the_browser_to_be_careful(site, path):
    headers = site.ask(path, "HEAD").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Server" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(site, method):
    for path in ("/", "/events", "/runs.csv"):
        assert site.ask(path, method, Origin="http://evil.example").status == 405


def test_only_what_is_chosen_is_reported(store):
    with served(store, "--comm", "ls", "--by", "host") as site:
        assert runs_on(site.ask()) == 1
        assert site.ask("/by-host.csv").status == 200
        assert site.ask("/by-owner.csv").status == 404
        assert RUN not in site.ask("/runs.csv").text
        assert site.ask(f"/runs/{RUN}.html").status == 404


def test_names_from_a_log_are_no_markup(tmp_path):
    rows = [run_row(n, comm=name, file=name, run_id=f"{n:016x}") for n, name in enumerate(HOSTILE)]
    with served(store_with(tmp_path, rows)) as site:
        for path in ("/", *(f"/runs/{row['run_id']}.html" for row in rows)):
            assert site.ask(path).status == 200
            assert not re.search(r"<script>alert|<img|<svg onload", site.ask(path).text)


# Who may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_is_not_this_machine_s_is_refused(site, host):
    assert site.ask(Host=host).status == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_names_of_this_machine_are_served(site, host):
    assert site.ask(Host=f"{host}:{site.port}").status == 200


def test_no_token_is_needed_where_nobody_else_can_ask(site):
    assert site.url == f"http://127.0.0.1:{site.port}/"


def test_others_need_the_token(open_to_all):
    site = open_to_all
    assert len(site.token) >= 32
    paths = ("/", "/events", "/runs.csv", f"/runs/{RUN}.html", "/nothing")
    for path in paths:
        assert site.ask(path).status == 403
        assert "printed" in site.ask(path).text
    assert site.ask("/?token=wrong").status == 403
    assert site.ask(Authorization=f"Bearer {site.token}x").status == 403
    assert site.ask(Authorization=f"Basic {site.token}").status == 403
    assert site.ask(Cookie=f"logtrace-{site.port}=wrong").status == 403
    assert site.ask(Cookie="logtrace-1=" + site.token).status == 403


def test_who_has_the_token_gets_a_cookie_that_scripts_and_other_sites_have_no_use_of(open_to_all):
    site = open_to_all
    entered = site.ask(f"/?{urlsplit(site.url).query}")
    assert entered.status == 200
    assert site.token not in entered.text
    cookie, *rules = entered.headers["Set-Cookie"].split("; ")
    assert {rule.lower() for rule in rules} >= {"httponly", "samesite=strict", "path=/"}
    assert runs_on(site.ask(Cookie=cookie)) == 2


def test_programs_give_the_token_in_a_header(open_to_all):
    assert open_to_all.ask("/runs.csv", Authorization=f"Bearer {open_to_all.token}").status == 200


def test_a_token_is_as_good_for_any_name_of_the_machine(open_to_all):
    bearer = f"Bearer {open_to_all.token}"
    assert open_to_all.ask(Host="lab.example", Authorization=bearer).status == 200
    assert open_to_all.ask(Host="lab.example").status == 403


# What is new


@contextmanager
def events_of(site):
    with closing(site.connect()) as connection:
        connection.request("GET", "/events")
        with connection.getresponse() as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            begin = b"data: "
            lines = (line for line in iter(answer.readline, b"") if line.startswith(begin))
            yield (json.loads(line.removeprefix(begin)) for line in lines)


def test_an_open_page_is_told_of_what_is_new_and_of_nothing_else(tmp_path):
    store = store_with(tmp_path, rows_of({}))
    with served(store) as site, events_of(site) as events:
        first = next(events)
        assert first["runs"] == 1
        assert first["version"] in site.ask().text
        store_more(store, {"run_id": "b" * 16}, {"run_id": "c" * 16})
        second = next(events)
        assert second["runs"] == 3
        assert second["version"] != first["version"]
        assert second["version"] in site.ask().text
        assert runs_on(site.ask()) == 3
        assert "c" * 16 in site.ask("/runs.csv").text


def test_a_store_that_can_not_be_read_is_told_and_read_again_once_it_can(tmp_path):
    store = store_with(tmp_path / "store", rows_of({}))
    with served(store) as site, events_of(site) as events:
        first = next(events)
        store.root.rename(tmp_path / "away")
        assert "does not exist" in next(events)["trouble"]
        assert site.ask().status == 503
        (tmp_path / "away").rename(store.root)
        assert next(events) == first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_at_once_though_pages_are_open(store, number):
    with served(store) as site, ExitStack() as open_pages:
        for _ in range(3):
            next(open_pages.enter_context(events_of(site)))
        site.ask("/runs.csv")
        begun = time.monotonic()
        site.process.send_signal(number)
        _, errors = site.process.communicate(timeout=PATIENCE_S)
        assert time.monotonic() - begun < PATIENCE_S / 2
        assert (site.process.returncode, errors) == (0, "")


def test_a_report_is_made_once_for_all_who_ask(tmp_path):
    opened = []

    def opening():
        opened.append(Engine(store))
        return opened[-1]

    store = store_with(tmp_path, lab_rows(10))
    board = Board(opening, Filters, [["owner"]], ZoneInfo("UTC"))
    first = board.snapshot()
    made = len(opened)
    board._look_at = board._make_at = 0
    assert board.snapshot() is first
    store_more(store, {})
    assert board.snapshot() is first  # not all the time
    board._look_at = 0
    second = board.snapshot()
    assert second.runs == 11
    assert len(opened) == made + 1
    store_more(store, {}, source="kmsg:again")
    board._look_at = 0
    assert board.snapshot() is second  # reports would take all of a processor
    board._look_at = board._make_at = 0
    assert board.snapshot().runs == 12


def test_the_files_of_tables_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    store = store_with(tmp_path / "store", rows_of({}))
    zone = ZoneInfo("UTC")
    board = Board(lambda: Engine(store), Filters, [["owner"]], zone)
    first = board.table("runs.csv")
    assert board.table("runs.csv") == first
    store_more(store, {})
    second = board.table("runs.csv")
    assert second != first
    assert [*(tmp_path / "files").iterdir()] == [second.parent]
    board.close()
    assert [*(tmp_path / "files").iterdir()] == []


# What can't be served


def serve(*options):
    return CliRunner().invoke(cli, ["serve", *map(str, options)])


def test_a_port_that_is_taken_is_told(site, store):
    done = serve("--store", store, "--port", site.port)
    assert done.exit_code == 1
    assert f"127.0.0.1:{site.port} can't be listened on: Address already in use" in done.stderr
    assert "--port" in done.stderr


def test_a_store_that_does_not_exist_and_a_key_that_is_none_are_told(tmp_path, store):
    assert "does not exist" in serve("--store", tmp_path / "absent").stderr
    done = serve("--store", store, "--by", "colour")
    assert (done.exit_code, "colour" in done.stderr) == (2, True)


def test_what_is_not_installed_is_told_with_the_remedy(store, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name == "uvicorn":
            raise ImportError(name="uvicorn")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "logtrace.serve", raising=False)
    done = serve("--store", store)
    assert done.exit_code == 1
    assert "uvicorn" in done.stderr
    assert "pip install 'logtrace[serve]'" in done.stderr


def test_what_is_needed_is_what_the_extra_installs():
    text = (Path(__file__).parent.parent / "setup.cfg").read_text()
    extra = re.search(r"^serve =\n((?: +.*\n)+)", text, re.M)[1]
    assert set(re.findall(r"[a-z][a-z-]+", extra)) == {"starlette", "uvicorn", "sse-starlette"}
