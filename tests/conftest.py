"""What all tests share."""

import itertools
import os
from unittest.mock import patch

import pytest
import s3_server
from hypothesis import HealthCheck, settings

# That an example takes long is the fault of a busy machine, not of the code.
settings.register_profile(
    "logtrace",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("logtrace")


def pytest_addoption(parser):
    parser.addoption(
        "--kernel",
        action="append",
        metavar="NAME",
        help="kernel to test the modules on: 5.10, 6.1, 6.12, newest, patched, sanitizer or the "
        "path of an image (repeatable; default 6.1, patched, newest)",
    )


@pytest.fixture(autouse=True)
def _environment_is_put_back():
    """A command that runs in this process may set variables, which later processes inherit."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def _s3(tmp_path_factory):
    with s3_server.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


_numbers = itertools.count()


@pytest.fixture
def s3(_s3, tmp_path, monkeypatch):
    """Give an S3 server with an empty bucket, which the environment leads to."""
    _s3.bucket = f"lab{next(_numbers)}"
    _s3.make_bucket(_s3.bucket)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    _s3.take_requests()
    return _s3
