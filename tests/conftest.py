"""Settings that hold for every test: Hypothesis draws the same examples on every machine, so nothing is flaky."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "touchstone", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("touchstone")
