"""What all tests share."""

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
