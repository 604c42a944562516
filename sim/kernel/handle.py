"""How compiled functions see the state: one pointer instead of two dozen arrays.

Numba passes a tuple of arrays as seven machine words an array, at every call. Here a `Sim` travels as the address of
a table that holds, for each of its arrays, the address of the data and the lengths of two dimensions; ``sim.inst``
in compiled code reads that table. The arrays are never replaced during a call, so those reads are marked invariant
and cost next to nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np import arrayobj, numpy_support

WORDS = 3  # in the table, per array: address, first and second dimension


def address_table(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The table for these C-contiguous arrays; it must live as long as compiled code uses it, and so must they."""
    table = np.ones((len(arrays), WORDS), np.int64)
    for row, array in zip(table, arrays, strict=True):
        assert array.flags.c_contiguous
        row[0] = array.ctypes.data
        row[1 : 1 + array.ndim] = array.shape
    return table


class StateType(types.Type):
    """Numba type of a state class: its fields, each with the element type and the dimensions of its array."""

    def __init__(self, fields: tuple[tuple[str, types.Type, int], ...]) -> None:
        self.fields = fields
        super().__init__(name="ServeSimState")

    def position(self, name: str) -> int:
        return [field for field, _, _ in self.fields].index(name)


@register_model(StateType)
class _StateModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: StateType) -> None:
        super().__init__(manager, kind, ir.IntType(64).as_pointer())


@infer_getattr
class _StateAttributes(AttributeTemplate):
    key = StateType

    def generic_resolve(self, state: Any, name: str) -> Any:  # type: ignore[override]
        _, element, dimensions = state.fields[state.position(name)]
        return types.Array(element, dimensions, "C")


@lower_getattr_generic(StateType)
def _read_field(context: Any, builder: Any, state: StateType, value: Any, name: str) -> Any:
    at = state.position(name)
    _, element, dimensions = state.fields[at]
    words = []
    for word in range(1 + dimensions):
        load = builder.load(builder.gep(value, [ir.Constant(ir.IntType(64), WORDS * at + word)]))
        load.set_metadata("invariant.load", builder.module.add_metadata([]))
        words.append(load)
    kind = types.Array(element, dimensions, "C")
    array = arrayobj.make_array(kind)(context, builder)
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(element)))
    strides = [size] if dimensions == 1 else [builder.mul(words[2], size), size]
    arrayobj.populate_array(
        array,
        data=builder.inttoptr(words[0], array.data.type),
        shape=words[1:],
        strides=strides,
        itemsize=size,
        meminfo=None,
        parent=None,
    )
    return array._getvalue()


@unbox(StateType)
def _unbox_state(kind: StateType, value: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(value, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.bitcast(pointer, ir.IntType(64).as_pointer()))


def register_state(state_class: type, fields: dict[str, tuple[np.dtype, int]]) -> StateType:
    """Let compiled functions take instances of ``state_class``, whose ``address`` is that of its `address_table`."""
    kind = StateType(
        tuple((name, numpy_support.from_dtype(dtype), dimensions) for name, (dtype, dimensions) in fields.items())
    )
    typeof_impl.register(state_class)(lambda value, context: kind)
    return kind
