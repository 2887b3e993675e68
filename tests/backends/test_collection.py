import gc
from contextlib import ExitStack

import pytest

from gpunn.backends.collection import COLLECTION


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_collector_is_off_until_the_last_pause_ends(enabled, order):
    """In whatever order the threads that record and capture end their pauses."""
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        pauses = [ExitStack(), ExitStack()]
        for pause in pauses:
            pause.enter_context(COLLECTION.pause())
        for index in order:
            assert not gc.isenabled()
            pauses[index].close()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
