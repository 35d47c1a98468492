"""What a compiled function remembers of its recordings: when it gives up, and what it warns of."""

import collections
import sys
import warnings

MOST_WASTED = 8                          # recordings in a row that were hardly ever replayed
UNTOLD = 3                               # recordings because of changes of one place outside, before that is told


class History:
    """Of one compiled function.

    Attributes
    ----------
    name : str
        What warnings call it.
    given_up : str or None
        Why calls run eagerly from now on.
    """

    def __init__(self, name):
        self.name = name
        self.clear()

    def clear(self):
        """Begin anew."""
        self.given_up, self._changed, self._warned = None, [], set()
        self._recent = collections.deque(maxlen=MOST_WASTED)
        self._anew = collections.Counter()

    def recorded(self, program, why, before=None):
        """A call was recorded.

        program: None if it can't be used.  why: what the call needed it for, or why not.  before: the program for such
        arguments until now.
        """
        self._recent.append((program, why))
        if before is not None and before.calls > 2 and before.key.changed():
            self._anew[why] += 1
            if self._anew[why] > UNTOLD:
                self.warn_once(f"{why} keeps changing between calls, and each change is a recording; make it a tensor, "
                               "an argument or a cb.State")
        if program is not None:
            self._changed = []
        if len(self._recent) == MOST_WASTED and all(p is None or p.calls <= 2 for p, _ in self._recent):
            reasons = collections.Counter(why for _, why in self._recent if why)
            listed = "; ".join(f"{why} ({n} times)" if n > 1 else why for why, n in reasons.most_common(4))
            self.give_up(f"its last {MOST_WASTED} recordings were replayed once at most.  What differed: {listed}.  "
                         "Hand numbers that change from call to call over as arrays or tensors, or keep them in a "
                         "cb.State; sizes that change share a program, unless the function asks for shapes or lengths",
                         why in self._warned)

    def changes(self, labels, text):
        """A recorded call has changed what it depends on: twice running, and there are no programs any more."""
        again = [label for label in labels if label in self._changed]
        self._changed = labels
        if again:
            self.give_up(text)

    def give_up(self, why, told=False):
        """Calls run eagerly from now on, which is said once; told: a warning has said why there is no program."""
        if self.given_up is None:
            self.given_up = why
            if not told:
                warn(f"compile: {self.name} runs eagerly from now on: {why}")

    def warn_once(self, text, more=""):
        """Say something, once."""
        if text not in self._warned:
            self._warned.add(text)
            warn(f"compile: {self.name}: {text}{more}")


def warn(text):
    """A RuntimeWarning at the line of the user's code that led here."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cybackprop"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level)
