"""Ctrl-C, or another signal, between two steps instead of in the middle of one."""

import signal
import threading

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")
           if hasattr(signal, name)]


class Uninterrupted:
    """A context in which signals wait for the end; a second one of a kind acts at once.

    A step that is cut short has written some of the parameters and moments, or all of them without being counted; a run
    could not go on from there to the same bits.  Only handlers written in Python are held up, since they may raise.
    Does nothing outside of the main thread, which alone gets signals.

    Attributes
    ----------
    pending : list of int
        The signals that wait.
    """

    def __enter__(self):
        self.pending, self._before = [], {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if callable(before):
                    self._before[number] = before
                    signal.signal(number, self._hold)
        return self

    def _hold(self, number, frame):
        if number in self.pending:
            self._before[number](number, frame)
        self.pending.append(number)

    def __exit__(self, *error):
        for number, before in self._before.items():
            signal.signal(number, before)
        for number in self.pending:
            self._before[number](number, None)
