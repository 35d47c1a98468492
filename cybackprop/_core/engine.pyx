# The tape and the objects on it: one module, because compiled modules are dear and the parts know each other.
cimport cython
from cpython.buffer cimport (PyObject_CheckBuffer, PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_Release, PyObject_GetBuffer)
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.type cimport PyType_Modified
from libc.math cimport copysign
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset, strcmp

import copy
import functools
import operator
import os
import sys
import threading
import time
import types
import weakref
from collections import OrderedDict, deque
from enum import Enum as enum_type
from time import perf_counter

import numpy as np

from cybackprop.errors import DTypeError, ModelFileError, ShapeError, TapeError

include "convert.pxi"
include "promotion.pxi"
include "broadcast.pxi"
include "record.pxi"
include "recorder.pxi"
include "body.pxi"
include "integer.pxi"
include "rows.pxi"
include "tensor.pxi"
include "parameter.pxi"
include "op.pxi"
include "raw.pxi"
include "products.pxi"
include "structured.pxi"
include "several.pxi"
include "sweep.pxi"
include "update.pxi"
include "random.pxi"
include "buffers.pxi"
include "buffer_products.pxi"
include "buffer_rows.pxi"
include "config.pxi"
include "program.pxi"
include "building.pxi"
include "looking.pxi"
include "rehearsal.pxi"
include "turns.pxi"
include "derivative.pxi"
include "places.pxi"
include "trees.pxi"
include "key.pxi"
include "compiled.pxi"
include "twin.pxi"
include "loop.pxi"
include "scan.pxi"
include "saved.pxi"
include "selftest.pxi"
