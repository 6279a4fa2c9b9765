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
