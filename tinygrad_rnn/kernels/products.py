"""Matrix products from inside loops that Numba compiles, by the BLAS that NumPy itself uses.

Numba cannot call `np.matmul` on a part of an array without leaving machine code. `multiply` calls BLAS's
`gemm` and `gemv` through their addresses (`blas`), which it takes as arguments, so that what Numba compiled
can be kept on disk.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic


def _caller(pattern: str) -> Any:
    """An intrinsic f(address, bits, …): calls the C function there with arguments as `pattern` spells them.

    i is an integer, e an enumeration (always 32 bits), r a number of the arrays' dtype, p an array's address.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = signature.args[2 + pattern.index("p")]
        real = context.get_value_type(first.dtype)

        def call(bits: int) -> None:
            integer, enumeration = ir.IntType(bits), ir.IntType(32)
            types = {"i": integer, "e": enumeration, "r": real, "p": real.as_pointer()}
            function = ir.FunctionType(ir.VoidType(), [types[letter] for letter in pattern])
            values = []
            for letter, value, kind in zip(pattern, args[2:], signature.args[2:], strict=True):
                if letter == "p":
                    value = builder.bitcast(
                        context.make_array(kind)(context, builder, value).data, types["p"]
                    )
                elif letter in "ie" and types[letter].width < 64:
                    value = builder.trunc(value, types[letter])
                values.append(value)
            builder.call(builder.inttoptr(args[0], function.as_pointer()), values)

        wide = builder.icmp_signed("==", args[1], ir.Constant(ir.IntType(64), 64))
        with builder.if_else(wide) as (then, otherwise):
            with then:
                call(64)
            with otherwise:
                call(32)
        return context.get_dummy_value()

    i = numba.types.int64
    fixed = {"i": i, "e": i}

    def typed(real: Any, arrays: list[Any]) -> Any:
        rest = iter(arrays)
        kinds = [fixed.get(letter) or (next(rest) if letter == "p" else real) for letter in pattern]
        return numba.types.void(i, i, *kinds)

    return codegen, typed


_gemm_codegen, _gemm_typed = _caller("eeeiiirpipirpi")
_gemv_codegen, _gemv_typed = _caller("eeiirpipirpi")


@intrinsic
def _gemm(context, address, bits, order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    return _gemm_typed(alpha, [a, b, c]), _gemm_codegen


@intrinsic
def _gemv(context, address, bits, order, trans, m, n, alpha, a, lda, x, incx, beta, y, incy):  # type: ignore[no-untyped-def]
    return _gemv_typed(alpha, [a, x, y]), _gemv_codegen


_QUICK: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
gemm_at: Any = _gemm
gemv_at: Any = _gemv


@numba.njit(**_QUICK)
def multiply(gemm: Any, gemv: Any, bits: Any, a: Any, weight: Any, out: Any, transposed: Any) -> None:
    """out = a @ weightᵀ where transposed, else a @ weight; rows of all three are contiguous."""
    one, zero = a.dtype.type(1), a.dtype.type(0)
    rows, columns = weight.shape
    size = a.itemsize
    if a.shape[0] == 1:
        trans = 111 if transposed else 112
        gemv_at(
            gemv, bits, 101, trans, rows, columns, one, weight, weight.strides[0] // size, a, 1, zero, out, 1
        )
    else:
        trans = 112 if transposed else 111
        gemm_at(
            gemm, bits, 101, 111, trans, a.shape[0], out.shape[1], a.shape[1], one, a, a.strides[0] // size,
            weight, weight.strides[0] // size, zero, out, out.strides[0] // size,
        )  # fmt: skip
