import os
import signal
import threading
from unittest.mock import Mock

import pytest

from gpunn.training.interruption import Interruption

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_handler_of_somebody_else_is_kept():
    mine = Mock()
    signal.signal(signal.SIGINT, mine)
    with Interruption() as interruption:
        interrupt()
    assert [call.args[0] for call in mine.call_args_list] == [signal.SIGINT]
    assert not interruption.requested
    assert signal.getsignal(signal.SIGINT) is mine


def test_in_another_thread_nothing_changes():
    states = []

    def work():
        with Interruption() as interruption:
            states.append((signal.getsignal(signal.SIGINT), interruption.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert states == [(signal.default_int_handler, False)]


def test_an_error_inside_passes():
    with pytest.raises(ZeroDivisionError), Interruption():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
