import os
import signal
import threading
from unittest.mock import Mock

import pytest

from gpunn.training.interruption import Interruption

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


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

    in_thread(work)
    assert states == [(signal.default_int_handler, False)]


def test_other_threads_share_the_object_of_the_main_thread():
    with Interruption() as interruption:
        in_thread(lambda: interruption.__exit__(None, None, None))
        interrupt()
        assert interruption.reason == "interrupted by Ctrl-C"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_end_without_a_signal():
    interruption = Interruption()
    interruption.cancel("for the first reason")
    interruption.cancel("for the second reason")
    assert interruption.requested
    assert (interruption.reason, interruption.exit_status) == ("for the first reason", None)
