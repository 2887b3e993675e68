"""What holds for all tests."""

import hypothesis
from hypothesis.internal.conjecture import providers


def test_hypothesis_depends_on_no_clock_no_chance_and_no_imports():
    settings = hypothesis.settings.default
    assert (settings.deadline, settings.derandomize, settings.database) == (None, True, None)
    assert hypothesis.HealthCheck.too_slow in settings.suppress_health_check
    assert not providers._get_local_constants()
