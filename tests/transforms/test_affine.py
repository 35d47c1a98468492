"""Constants that follow the batch size."""

import numpy as np
import pytest
import unrolled

import cybackprop as cb

COUNTS = {
    "arange": lambda n: np.arange(n), "from 3 by -2": lambda n: 3 - 2 * np.arange(n),
    "int32": lambda n: np.arange(n, dtype="int32"), "float32": lambda n: np.arange(n, dtype="float32"),
    "float64": lambda n: np.arange(n) - 2.0**40, "a column": lambda n: np.arange(n)[:, None],
    "two columns": lambda n: np.arange(2 * n).reshape(n, 2), "cb.arange": lambda n: cb.arange(n),
    "rounded": lambda n: (2**23 * np.arange(n) + np.arange(n)).astype("float32"),
    "over the end": lambda n: np.int64(2**63 - 8) + np.arange(n),
}
OTHERS = {
    "backwards": lambda n: np.arange(n)[::-1].copy(), "halves": lambda n: np.arange(n) / 2,
    "odd ones": lambda n: np.arange(n) % 2 == 1, "squares": lambda n: np.arange(n) ** 2,
    "rounded otherwise": lambda n: (2**24 + np.arange(n)).astype("float32"),
    "infinite": lambda n: np.full(n, np.inf) * (np.arange(n) - 0.5), "from -0.0": lambda n: -0.0 - np.arange(n),
}


@pytest.mark.parametrize("name", COUNTS)
def test_constants_that_count(tmp_path, name):
    """Their element i is c + d i, as many as there are."""
    def f(x):
        return cb.tensor(COUNTS[name](len(x))), x * 2

    cb.save_programs(tmp_path / "f", f=(f, cb.ones((8, 2))))
    file = cb.load_program(tmp_path / "f")
    for n in (1, 2, 3, 40):
        assert unrolled.bits(list(file(np.ones((n, 2))).values())) == unrolled.bits(list(f(cb.ones((n, 2)))))


@pytest.mark.parametrize("name", OTHERS)
def test_constants_that_follow_the_batch_otherwise(tmp_path, name):
    with pytest.raises(cb.TapeError, match="another one at each batch size"):
        cb.save_programs(tmp_path / "f", f=(lambda x: (cb.tensor(OTHERS[name](len(x))), x * 2), cb.ones((8, 2))))
