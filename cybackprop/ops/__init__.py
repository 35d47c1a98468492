"""The ops: registry, rules, and the public functions made from them."""

from cybackprop.ops import creation, movement, selection, formula, elementwise, indexing, keys  # noqa: F401, I001
from cybackprop.ops import reduction, product, softmax, random  # noqa: F401
from cybackprop.ops import numpy_protocol  # noqa: F401  # looks for the functions of the others
from cybackprop.ops.registry import public_functions, structured_rows  # noqa: F401
