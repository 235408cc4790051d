"""Settings that hold for every test: Hypothesis draws the same examples on every machine, and Ctrl-C works.

A shell starts what it puts in the background with SIGINT ignored, and children inherit that: the commands that the
tests interrupt would not notice.
"""

import signal

from hypothesis import HealthCheck, settings

signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "touchstone", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("touchstone")
