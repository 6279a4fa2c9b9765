"""A store in a bucket: how it is got to, what it costs, and what is said where it can't be read."""

import http.server
import os
import threading
from contextlib import contextmanager

import pytest
from obstore.store import S3Store
from report_samples import run_row
from store_samples import fill

from logtrace import bucket, store
from logtrace.columns import TABLES, to_table
from logtrace.doctor import examine_bucket
from logtrace.engine import Engine
from logtrace.errors import ConflictError, StoreError
from logtrace.location import local_files
from logtrace.store import Position, Store


@pytest.fixture(autouse=True)
def _settings_anew():
    bucket._settings.cache_clear()


@pytest.fixture
def lab(s3):
    return Store(f"s3://{s3.bucket}/the/lab")


def runs_of(host, *pids):
    return [run_row(pid, host=host, pid=pid) for pid in pids]


def pids(lab):
    return sorted(Engine(Store(str(lab))).rows("runs")["pid"])


def counted(s3):
    """Count what the server was asked since this was called last."""
    asked = s3.take_requests()
    listed = [each for each in asked if "list-type=2" in each.path]
    data = [each for each in asked if ".parquet" in each.path and "_delta_log" not in each.path]
    logs = [each for each in asked if "_delta_log/0" in each.path]
    return len(listed), len(logs), len(data)


def test_a_store_may_be_a_whole_bucket(s3):
    lab = Store(f"s3://{s3.bucket}")
    fill(lab, runs_of("lab1", 7), host="lab1")
    assert pids(lab) == [7]
    assert Store(f"s3://{s3.bucket}/").hosts() == ["lab1"]


def test_a_url_without_a_bucket_is_refused():
    with pytest.raises(StoreError, match="s3:///lab names no bucket"):
        Store("s3:///lab")


def test_every_file_is_brought_once(lab, s3):
    for host in ("lab1", "lab2", "lab3"):
        fill(lab, runs_of(host, 1), host=host)
    s3.take_requests()
    assert pids(lab) == [1, 1, 1]
    # one list of the hosts and one a host; two commits a table; a file of rows a table
    assert counted(s3) == (4, 6, 3)
    assert pids(lab) == [1, 1, 1]
    assert counted(s3) == (4, 0, 0)
    lab.host("lab1").append("more", Position(9, 9), runs=runs_of("lab1", 2))
    s3.take_requests()
    assert pids(lab) == [1, 1, 1, 2]
    assert counted(s3) == (4, 1, 1)


def test_of_a_long_log_only_what_is_behind_the_last_checkpoint_is_brought(lab, s3, monkeypatch):
    often = {**store._CONFIGURATION, "delta.checkpointInterval": "5"}
    monkeypatch.setattr(store, "_CONFIGURATION", often)
    for number in range(8):
        lab.host("lab1").append(f"s{number}", Position(1, 1), runs=runs_of("lab1", number))
    s3.take_requests()
    positions = Store(str(lab)).positions()
    _lists, logs, data = counted(s3)
    assert data == 0
    assert logs == 1 + 4  # the checkpoint of commit 4, and the commits to 8
    assert positions.of("s0") == positions.of("s7") == {"lab1": Position(1, 1)}
    lab.host("lab1").vacuum()
    s3.take_requests()
    assert pids(lab) == list(range(8))
    assert counted(s3)[1] == 1


def test_a_store_is_read_as_it_was_at_the_first_look(lab):
    fill(lab, runs_of("lab1", 1), host="lab1")
    opened = Store(str(lab))
    before = opened.files("runs")
    fill(lab, runs_of("lab2", 1), host="lab2")
    assert (opened.files("runs"), opened.hosts()) == (before, ["lab1"])
    opened.refresh()
    assert opened.hosts() == ["lab1", "lab2"]
    assert len(opened.files("runs")) == 2


def test_a_machine_that_was_removed_or_begun_anew_is_as_it_is_there(lab, s3):
    fill(lab, runs_of("lab1", 1), host="lab1")
    fill(lab, runs_of("lab2", 2), host="lab2")
    lab.host("lab2").append("more", Position(9, 9), runs=runs_of("lab2", 3))
    assert pids(lab) == [1, 2, 3]
    there = S3Store(
        s3.bucket, endpoint=s3.url, region="us-east-1", client_options={"allow_http": True}
    )
    there.delete([each["path"] for chunk in there.list("the/lab") for each in chunk])
    fill(lab, runs_of("lab2", 4), host="lab2")
    assert pids(lab) == [4]
    assert Store(str(lab)).hosts() == ["lab2"]


def test_two_who_append_at_once_are_told_apart_by_the_bucket(lab):
    fill(lab, runs_of("lab1", 1), host="lab1")
    one, other = lab.host("lab1"), lab.host("lab1")
    seen = one.open_log("runs"), other.open_log("runs")
    row = to_table(runs_of("lab1", 2), TABLES["runs"])
    one.receive("runs", seen[0], row, {"ship": 1})
    with pytest.raises(ConflictError):
        other.receive("runs", seen[1], row, {"ship": 1})
    assert pids(lab) == [1, 2]


def test_a_watch_does_not_store_in_a_bucket(lab):
    with pytest.raises(StoreError, match="what is watched is stored in a folder first") as raised:
        lab.host("lab1").hold(7)
    assert "--ship-to" in raised.value.remedy
    assert not lab.is_watched("lab1", 7)


def test_credentials_region_and_server_are_those_of_the_files(s3, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    files = tmp_path / "home" / ".aws"
    files.mkdir(parents=True)
    (files / "credentials").write_text(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = x\n"
        "[lab]\naws_access_key_id = filekey\naws_secret_access_key = x\n"
    )
    (files / "config").write_text(
        f"[profile lab]\nregion = ap-northeast-2\nendpoint_url = {s3.url}\n"
    )
    lab = Store(f"s3://{s3.bucket}/the/lab")
    fill(lab, runs_of("lab1", 1), host="lab1")
    assert pids(lab) == [1]
    asked = s3.take_requests()
    assert {each.key for each in asked} == {"filekey/ap-northeast-2"}
    assert {each.method for each in asked} == {"GET", "PUT"}


def test_without_credentials_it_is_said_where_they_are_looked_for(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match="there are no credentials") as raised:
        Store(f"s3://{s3.bucket}/lab").hosts()
    assert "AWS_ACCESS_KEY_ID" in raised.value.remedy
    assert "~/.aws/credentials" in raised.value.remedy


def test_a_profile_that_is_not_there_is_told(s3, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match=r"profile \(nobody\) could not be found"):
        Store(f"s3://{s3.bucket}/lab").hosts()


def both(lab):
    """Give what reads the store and what writes to it."""
    return (
        Store(str(lab)).hosts,
        lambda: fill(Store(str(lab)), runs_of("lab1", 1), host="lab1"),
    )


def test_a_bucket_that_is_not_there_is_told(s3):
    for use in both("s3://nowhere/lab"):
        with pytest.raises(StoreError, match="there is no bucket nowhere") as raised:
            use()
        assert "\n" not in str(raised.value)


@contextmanager
def answering(status, body=b"", after_s=0.0):
    """Run a server that gives one answer to all."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            done.wait(after_s)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    done = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield "http://{}:{}".format(*server.server_address)
        finally:
            done.set()
            server.shutdown()


# As servers answer, cut down to what is looked at
REFUSED = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>No.</Message></Error>"


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, b"InvalidAccessKeyId", "does not take the key"),
        (403, b"SignatureDoesNotMatch", "does not take the key"),
        (400, b"ExpiredToken", "does not take the key"),
        (403, b"AccessDenied", "may not do this in bucket b"),
        (404, b"NoSuchBucket", "there is no bucket b"),
    ],
)
def test_what_a_server_refuses_is_told_in_one_line_with_the_remedy(
    s3, monkeypatch, status, code, told
):
    with answering(status, REFUSED % code) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for use in both("s3://b/lab"):
            with pytest.raises(StoreError, match=told) as raised:
                use()
            assert raised.value.remedy
            assert "\n" not in str(raised.value)
            assert "\x1b" not in str(raised.value)


def test_a_server_that_can_not_be_reached_is_told_within_seconds(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for use in both("s3://b/lab"):
        with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 can't be reached") as raised:
            use()
        assert "AWS_ENDPOINT_URL" in raised.value.remedy


def test_a_server_that_does_not_answer_is_given_up(s3, monkeypatch):
    monkeypatch.setattr(bucket, "_ANSWER_WITHIN", bucket.timedelta(seconds=1))
    monkeypatch.setattr(bucket, "_RETRIES", 1)
    with answering(200, after_s=60) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for use in both("s3://b/lab"):
            with pytest.raises(StoreError, match="can't be reached"):
                use()


def test_copies_that_can_not_be_kept_are_told(lab, tmp_path, monkeypatch):
    fill(lab, runs_of("lab1", 1), host="lab1")
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "full"))
    with pytest.raises(StoreError, match=r"copies of store s3://.* can't be kept") as raised:
        Store(str(lab)).files("runs")
    assert "LOGTRACE_CACHE" in raised.value.remedy


def test_copies_of_replaced_files_are_removed_after_a_while(lab, monkeypatch):
    for number in range(3):
        lab.host("lab1").append("s", Position(number, number), runs=runs_of("lab1", number))
    before = local_files(Store(str(lab)).files("runs"))
    monkeypatch.setattr("logtrace.store._KEEP_REPLACED_FILES", bucket.timedelta(0))
    lab.host("lab1").compact()
    assert pids(lab) == [0, 1, 2]
    assert all(map(os.path.exists, before)), "another process may be reading them"
    monkeypatch.setattr(bucket, "_KEEP_COPIES_S", -1)
    assert pids(lab) == [0, 1, 2]
    assert not any(map(os.path.exists, before))


def test_the_doctor_says_whether_the_bucket_can_be_read(lab):
    check = examine_bucket(lab)
    assert (check.state, check.found) == ("ok", f"{lab} can be read")
    check = examine_bucket(Store("s3://nowhere/lab"))
    assert (check.state, check.remedy) == ("failed", "make it, or name another")


def test_a_store_in_a_bucket_is_looked_at_again_after_a_while_only(lab):
    opened = Store(str(lab))
    assert opened.hosts() == []
    fill(lab, runs_of("lab1", 1), host="lab1")
    opened.refresh(60)
    assert opened.hosts() == []
    opened.refresh()
    assert opened.hosts() == ["lab1"]


def test_files_of_folders_are_where_they_are(tmp_path):
    lab = fill(Store(str(tmp_path)), runs_of("lab1", 1), host="lab1")
    assert local_files(lab.files("runs")) == lab.files("runs")
