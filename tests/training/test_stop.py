"""A signal is noted, the second one interrupts, and everything is as before afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cacl.training.stop import Stopped, StopRequest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted(number, code):
    with StopRequest() as stop:
        assert not stop.requested
        stop.raise_if_requested()
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(Stopped) as error:
            stop.raise_if_requested()
    assert error.value.code == code


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_interrupts_at_once(second):
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)


def test_handlers_come_back_also_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def fail():
        with StopRequest():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_requests_nest():
    with StopRequest() as outer:
        with StopRequest() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
        assert inner.requested
        assert not outer.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.requested


def test_another_thread_may_train_too():
    """Signals go to the main thread; there is nothing to install."""
    found = []

    def work():
        with StopRequest() as stop:
            found.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
