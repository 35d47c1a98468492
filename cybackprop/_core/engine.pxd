# The engine's objects.  Who owns what: ARCHITECTURE.md, "The engine".
from cpython.ref cimport PyObject
from cybackprop._core.kernels cimport *


cdef class Tensor:
    cdef cbp_array *a            # the value, counted
    cdef readonly Record record  # how it came to be: None where no gradient is wanted
    cdef object grad_            # Tensor or None
    cdef object __weakref__


cdef class State(Tensor):        # changes in place
    cdef str kind(self)


cdef class Parameter(State):     # ... and is trained
    pass


cdef class Row:
    cdef readonly str name
    cdef public object vjp_rule          # (record, g) -> one Tensor or None an input, in tensor operations
    cdef public object jvp_rule          # (record, tangents) -> Tensor
    cdef int sweep(self, Record r, Sweep s) except -1
    cdef int sweep_recorded(self, Record r, Sweep s) except -1


cdef class Record:
    cdef readonly Row row
    cdef readonly long long number       # order of recording; the sweep goes down, tangents go up
    cdef int n
    cdef PyObject **edges                # counted Records; NULL where the input takes no gradient
    cdef cbp_array **kept                # counted values that the derivative reads, NULL where it doesn't
    cdef long long *versions             # of the kept values when they were read; -1: kept for its shape only
    cdef PyObject *inline_edges[3]
    cdef cbp_array *inline_kept[3]
    cdef long long inline_versions[3]
    cdef cbp_array *out                  # the op's own value, if the derivative reads it
    cdef double p[2]
    cdef readonly object attrs           # dict of a structured op's attributes, or None
    cdef readonly object saved           # what its forward saved besides
    cdef object hooks
    cdef PyObject *owner                 # NOT counted: the Tensor whose .grad this record fills, or NULL
    cdef Py_ssize_t size                 # elements of the op's value, and their dtype: what a cotangent must have
    cdef uint8_t dtype
    cdef bint freed
    # in a sweep
    cdef PyObject *sweeper               # NOT counted: the Sweep that has claimed this record
    cdef cbp_array *cot                  # its cotangent so far
    cdef object cot_tensor               # the same when the sweep itself is recorded; of several results, a list
    cdef void release(self) noexcept


cdef class Sweep:
    cdef PyObject **heap                 # counted Records, the highest number on top
    cdef Py_ssize_t count, capacity
    cdef readonly bint create_graph, retain_graph
    cdef object needed                   # set of ids of records worth visiting, or None for all
    cdef dict targets                    # id of a record where the sweep ends -> place in `goals`, or None
    cdef Py_ssize_t n_goals
    cdef cbp_array **goals               # their cotangents so far: such records are not touched, others may sweep them
    cdef list goal_tensors               # the same when the sweep itself is recorded
    cdef list results                    # (tensor, its cotangent)
    cdef cbp_array *trash                # where kernels write what nobody wants
    cdef bint skips(self, Record edge)
    cdef cbp_array *bin(self, cbp_array *like_) except NULL
    cdef void drop(self, Record r) noexcept
    cdef Record visit(self, bint show)
    cdef object shown                    # the cotangent of the record that was visited last, where it was asked for
    cdef Tensor cotangent(self, Record r)
    cdef Tensor finish(self, Record r)
    cdef int run(self) except -1
    cdef int give(self, Record edge, cbp_array *c) except -1      # takes over the reference to c
    cdef int give_tensor(self, Record edge, Tensor c) except -1
    cdef int give_result(self, Record edge, int k, Tensor c) except -1
    cdef cbp_array *target(self, Record edge, cbp_array *like, cbp_array *reuse, int *add) except NULL
    cdef cbp_array **place(self, Record edge) except NULL
    cdef int push(self, Record edge) except -1
    cdef Record pop(self)


cdef enum:
    WORTH_RELEASING = 1 << 20            # multiply-adds: beyond, other threads may have the GIL meanwhile
