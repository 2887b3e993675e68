"""What holds for all tests."""

import hypothesis


def test_hypothesis_depends_on_no_clock_and_no_chance():
    settings = hypothesis.settings.default
    assert (settings.deadline, settings.derandomize, settings.database) == (None, True, None)
    assert hypothesis.HealthCheck.too_slow in settings.suppress_health_check
