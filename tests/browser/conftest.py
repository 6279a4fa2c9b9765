"""The window that the tests of pages share."""

import os
import shutil
import sys
from importlib import util
from pathlib import Path

import pytest
from chromium import CHROMIUM, DRIVER, Browser, start

# The samples lie beside the tests of the library, which may not be among those that run.
sys.path.insert(0, str(Path(__file__).parents[1]))


def skip(reason):
    if os.environ.get("LOGTRACE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def window(tmp_path_factory):
    if not util.find_spec("selenium"):
        skip("selenium is not installed: pip install 'logtrace[dev]'")
    for program, package in ((CHROMIUM, "chromium"), (DRIVER, "chromium-driver")):
        if not os.access(program, os.X_OK):
            skip(f"{program} is not there: apt-get install {package}")
    profile = tmp_path_factory.mktemp("profile")
    driver = start(profile)
    yield driver
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def browser(window):
    return Browser(window)
