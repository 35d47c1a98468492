"""Random small functions, and random changes of what they can name: compiled, they never differ silently from eager.

`make sweep-compile` runs more of them: EXAMPLES=20000 SEED=1.
"""

import collections
import os

from functions import functions
from hypothesis import HealthCheck, Phase, given, settings
from namespaces import difference

EXAMPLES = int(os.environ.get("COMPILE_EXAMPLES", "0"))          # of the sweep


def test_random_functions_never_differ_silently():
    counts = collections.Counter()

    @settings(max_examples=EXAMPLES or 200, derandomize=not EXAMPLES, database=None, deadline=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(functions())
    def agrees(function):
        found = difference(function, counts)
        assert found is None, f"{found}\n{function!r}"

    agrees()
    print(dict(counts))
    assert 3 * counts["replays"] > counts["calls"], counts       # or little was tested
