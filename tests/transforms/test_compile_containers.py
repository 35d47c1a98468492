"""Containers, arrays and tensors that a function can name: a change in them is seen, another array is read anew."""

import array
import collections
import types

import numpy as np
import pytest
from changing import Plain, Table, check, tensor

import cybackprop as cb

ROWS = Table()


# ---- containers


@ROWS.row
def a_list():
    a = [2.0, [1.0]]
    return lambda x: x * a[0] * a[1][0], [lambda: a.__setitem__(0, 3.0), lambda: a[1].__setitem__(0, 5.0),
                                          lambda: a.__setitem__(1, [7.0])]


@ROWS.row
def a_lists_length():
    a = [2.0]
    return lambda x: x * len(a), [lambda: a.append(1.0), lambda: a.clear()]


@ROWS.row
def a_dict():
    a = {"k": 2.0, (1, 2): 1.0}
    return lambda x: x * a["k"] * a[1, 2], [lambda: a.update(k=3.0), lambda: a.update({(1, 2): 5.0})]


@ROWS.row
def a_dicts_keys_and_order():
    a = {"x": 1.0, "y": 2.0}
    return (lambda x: x * float("".join(a) == "xy") + len(a)), [lambda: a.update(x=a.pop("x")), lambda: a.update(z=3.0)]


@ROWS.row
def subclasses_of_dict_and_list():
    class D(dict):
        k = 2.0

        def __missing__(self, key):
            return self.k

    class L(list):
        def __getitem__(self, i):
            return list.__getitem__(self, i) * self.k
    d, a = D(), L([1.0])
    a.k = 1.0
    return lambda x: x * d["no"] * a[0], [lambda: setattr(D, "k", 3.0), lambda: setattr(a, "k", 4.0),
                                          lambda: d.update(no=9.0)]


@ROWS.row
def a_defaultdict():
    a = collections.defaultdict(lambda: 7.0)
    return lambda x: x * a.get("k", 1.0), [lambda: a.update(k=3.0)]


@ROWS.row
def a_set_and_a_deque():
    a, b = {2.0}, collections.deque([1.0], maxlen=3)
    return lambda x: x * sum(a) + sum(b), [lambda: a.add(5.0), lambda: b.append(3.0), lambda: b.rotate(1)]


@ROWS.row
def objects_in_containers():
    a, b = [Plain()], {"k": (Plain(), Plain())}
    return (lambda x: x * sum(p.k for p in a) + sum(p.k for p in b["k"])), [
        lambda: setattr(a[0], "k", 3.0), lambda: setattr(b["k"][1], "k", 5.0)]


@ROWS.row
def keys_with_attributes():
    key = Plain()
    a = {key: 1.0}
    return lambda x: x * sum(p.k for p in a), [lambda: setattr(key, "k", 3.0)]


@ROWS.row
def a_frozen_set_of_objects():
    p = Plain()
    a = frozenset([p])
    return lambda x: x * sum(q.k for q in a), [lambda: setattr(p, "k", 3.0)]


@ROWS.row
def a_view_of_a_dict():
    a = {"k": 2.0}
    view = types.MappingProxyType(a)
    return lambda x: x * view["k"], [lambda: a.update(k=3.0)]


@ROWS.row
def bytes_that_change():
    a, b, c = bytearray(b"\2"), array.array("d", [1.0]), memoryview(np.array([1.0]))
    return lambda x: x * a[0] * b[0] * c[0], [lambda: a.__setitem__(0, 3), lambda: b.__setitem__(0, 5.0),
                                              lambda: c.__setitem__(0, 7.0)]


@ROWS.row
def a_named_tuple():
    a = [collections.namedtuple("P", "k")(Plain())]
    return lambda x: x * a[0].k.k, [lambda: setattr(a[0].k, "k", 3.0),
                                    lambda: a.__setitem__(0, a[0]._replace(k=Plain(5.0)))]


# ---- arrays and tensors: one program reads them anew


@ROWS.row
def tensors():
    a, b, c = Plain(tensor(2.0)), [tensor(3.0)], {"k": tensor(4.0)}
    return lambda x: x * a.k + b[0] * c["k"], [lambda: setattr(a, "k", tensor(5.0)),
                                               lambda: b.__setitem__(0, tensor(6.0)),
                                               lambda: c.update(k=tensor(7.0))], 1


@ROWS.row
def a_tensor_of_another_shape():
    a = [tensor(2.0)]
    return lambda x: x * a[0], [lambda: a.__setitem__(0, cb.tensor(3.0)), lambda: a.__setitem__(0, cb.tensor([4.0]))]


@ROWS.row
def a_tensor_in_two_places():
    a = [tensor(2.0)]
    b = {"k": a[0]}
    return lambda x: x * a[0] + b["k"], [lambda: a.__setitem__(0, tensor(3.0)), lambda: b.update(k=tensor(5.0)),
                                         lambda: b.update(k=a[0])], 2             # the second reads both


@ROWS.row
def a_tensor_in_a_replaced_list():
    a = [[tensor(2.0)], {"k": [tensor(1.0)]}]
    return lambda x: x * a[0][0] * a[1]["k"][0], [lambda: a.__setitem__(0, [tensor(3.0)]),
                                                  lambda: a.__setitem__(1, {"k": [tensor(5.0)]})]


@ROWS.row
def tensors_where_no_place_reads_them():
    a, b, c = collections.deque([tensor(2.0)]), {(1, 2): tensor(3.0)}, [(tensor(4.0),)]
    return lambda x: x * a[0] + b[1, 2] * c[0][0], [lambda: a.__setitem__(0, tensor(5.0)),
                                                    lambda: b.update({(1, 2): tensor(6.0)}),
                                                    lambda: c.__setitem__(0, (tensor(7.0),))], 3


@ROWS.row
def an_array_in_two_places():
    a = [np.full(3, 2.0, "float32")]
    b = {"k": a[0]}
    return lambda x: x * a[0] + b["k"], [lambda: a.__setitem__(0, np.full(3, 3.0, "float32")), lambda: b["k"].fill(5.0),
                                         lambda: b.update(k=np.full(3, 7.0, "float32"))], 2


@ROWS.row
def an_array_that_an_operation_takes_whole():
    a = [np.full(200_000, 2.0, "float32")]
    return lambda x: x * cb.sum(cb.tensor(a[0])), [lambda: a[0].fill(3.0),
                                                   lambda: a.__setitem__(0, np.full(200_000, 4.0, "float32"))], 1


@ROWS.row
def an_array_that_numpy_reads():
    a = [np.array([1.0, 2.0])]
    return lambda x: x * float(a[0].sum()), [lambda: a[0].__setitem__(0, 5.0),
                                             lambda: a.__setitem__(0, np.array([1.0, 1.0]))]


@ROWS.row
def an_array_of_text():
    a = np.array(["ab", "c"])
    return lambda x: x * len(str(a[0])), [lambda: a.__setitem__(0, "a")]


@ROWS.row
def a_tensors_flag():
    w = cb.Parameter([1.0, 2.0, 3.0])
    return lambda x: x * (2 if w.requires_grad else 3), [lambda: setattr(w, "requires_grad", False)]


@pytest.mark.parametrize("name", ROWS)
def test_a_change_is_seen(name):
    check(*ROWS[name])
