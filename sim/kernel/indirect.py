"""Calling a compiled function through its address.

The event loop takes the router as an address, and a step its batching policy, so that both are compiled once and not
once a policy. (A function passed as such would make its own type part of the caller's signature.) Eviction is called so
because Numba compiles what a function calls again with each of its callers, and nearly every function takes blocks.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .state import SIM_TYPE


def _call(context, builder, signature, arguments):
    """Call the compiled function whose address is the first argument with the others."""
    function_type = context.call_conv.get_function_type(signature.return_type, signature.args[1:])
    function = builder.inttoptr(arguments[0], ir.PointerType(function_type))
    status, result = context.call_conv.call_function(
        builder, function, signature.return_type, signature.args[1:], arguments[1:]
    )
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return result


@intrinsic
def call_router(typing_context, address, sim, r):
    """``function(sim, r) -> int64`` for the compiled function at ``address``."""
    return types.int64(address, sim, r), _call


@intrinsic
def call_schedule(typing_context, address, sim, i):
    """``function(sim, i) -> int64``, likewise."""
    return types.int64(address, sim, i), _call


@intrinsic
def call_grant(typing_context, address, sim, r, hit_blocks, idle_hits, budget):
    """``function(sim, r, hit_blocks, idle_hits, budget) -> int64``, likewise."""
    return types.int64(address, sim, r, hit_blocks, idle_hits, budget), _call


@intrinsic
def call_evict(typing_context, address, sim, i, blocks):
    """``function(sim, i, blocks) -> int64``, likewise."""
    return types.int64(address, sim, i, blocks), _call


def router_address(function: Any) -> int:
    """Address of a compiled routing policy; compiles it on first use."""
    return compiled_address(function, 1)


def compiled_address(function: Any, integers: int) -> int:
    """Address of a compiled function ``(sim, integers...) -> int64``; compiles it on first use."""
    arguments = (SIM_TYPE, *[types.int64] * integers)
    function.compile(arguments)
    compiled = function.overloads[arguments]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
