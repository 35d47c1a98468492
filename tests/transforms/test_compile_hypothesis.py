"""Random small functions, and random changes of what they can name: compiled, they never differ silently from eager."""

import collections
import os

from functions import functions
from hypothesis import HealthCheck, given, settings
from namespaces import difference

EXAMPLES = int(os.environ.get("COMPILE_EXAMPLES", "200"))


def test_random_functions_never_differ_silently():
    counts = collections.Counter()

    @settings(max_examples=EXAMPLES, derandomize=EXAMPLES == 200, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(functions())
    def never(function):
        found = difference(function, counts)
        assert found is None, found

    never()
    print(counts)
    assert 3 * counts["replays"] > counts["calls"], counts
