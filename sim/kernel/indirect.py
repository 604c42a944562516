"""Calling a compiled function through its address.

The event loop takes the router as an address, so that it is compiled once and not once a policy. (A function passed
as such would make its own type part of the loop's signature.)
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .state import SIM_TYPE


@intrinsic
def call_router(typing_context, address, sim, r):
    """``function(sim, r) -> int64`` for the compiled function at ``address``."""
    signature = types.int64(address, sim, r)

    def codegen(context, builder, signature, arguments):
        function_type = context.call_conv.get_function_type(signature.return_type, signature.args[1:])
        function = builder.inttoptr(arguments[0], ir.PointerType(function_type))
        status, result = context.call_conv.call_function(
            builder, function, signature.return_type, signature.args[1:], arguments[1:]
        )
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return signature, codegen


def router_address(function: Any) -> int:
    """Address of a compiled policy; compiles it on first use."""
    arguments = (SIM_TYPE, types.int64)
    function.compile(arguments)
    compiled = function.overloads[arguments]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
