"""Handwritten digits, the small real data set that ships inside the package."""

import os.path

import numpy as np


def digits():
    """1,797 handwritten digits, 8 by 8 pixels.

    Returns
    -------
    X : float32 array, shape (1797, 64)
        One image a row, row by row from the top; ink from 0 (none) to 1, in sixteenths.
    y : int64 array, shape (1797,)
        The digit, 0 to 9.

    Notes
    -----
    The test set of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
    UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, licence CC BY 4.0; order and values as there.

    Examples
    --------
    >>> X, y = digits()
    >>> X.shape, X.dtype.name, y[:5].tolist()
    ((1797, 64), 'float32', [0, 1, 2, 3, 4])
    """
    with np.load(os.path.join(os.path.dirname(__file__), "digits.npz"), allow_pickle=False) as packed:
        return packed["images"].astype(np.float32) / 16, packed["labels"].astype(np.int64)
