# SPDX-License-Identifier: Apache-2.0
"""ptx_rows.py - what those PTX instructions do whose result is a function of operands.

A row is: opcode with T for its type; the types T may be; types of the result and of
the operands; the result in C, of a, b, c, d. In types, T is the type itself, U its
unsigned twin, W the one twice as wide, UW that one unsigned; in C, N is its bits.

add.f32 without a rounding is not here on purpose: ptxas may fuse it with a product,
so what it gives is not defined. Nor are atomics of floats, whose sum depends on order.
Where PTX leaves a result open (a division by zero) it is what GPUs are seen to give.
"""
import re
from dataclasses import dataclass

from ptx import BITS

C_TYPE = {"f32": "float", "f64": "double", "pred": "uint8_t"}
for bits in (8, 16, 32, 64):
    C_TYPE.update({f"b{bits}": f"uint{bits}_t", f"u{bits}": f"uint{bits}_t",
                   f"s{bits}": f"int{bits}_t"})

UNSIGNED = "u16 u32 u64"
SIGNED = "s16 s32 s64"
INTEGERS = f"{UNSIGNED} {SIGNED}"
NARROW = "u16 s16 u32 s32"
BITWISE = "b16 b32 b64"
FLOATS = "f32 f64"
ANY = f"{INTEGERS} {BITWISE} {FLOATS}"

ROWS = [
    # ---- integers; a sum that is too large wraps
    ("add.T", INTEGERS, "U = U U", "a + b"),
    ("sub.T", INTEGERS, "U = U U", "a - b"),
    ("mul.lo.T", INTEGERS, "U = U U", "(uint64_t)a * b"),
    ("mul.wide.T", NARROW, "W = T T", "(W)a * (W)b"),
    ("mul.hi.T", "u32 u64", "T = T T", "(unsigned __int128)a * b >> N"),
    ("mul.hi.T", "s32 s64", "T = T T", "(__int128)a * b >> N"),
    ("mad.lo.T", INTEGERS, "U = U U U", "(uint64_t)a * b + c"),
    ("mad.wide.T", NARROW, "UW = T T UW", "(UW)((W)a * (W)b) + c"),
    ("div.T", UNSIGNED, "T = T T", "b == 0 ? (T)~(T)0 : a / b"),
    ("rem.T", UNSIGNED, "T = T T", "b == 0 ? a : a % b"),
    ("div.T", SIGNED, "T = T T", "b == 0 ? (T)-1 : b == -1 ? (T)(0 - (U)a) : a / b"),
    ("rem.T", SIGNED, "T = T T", "b == 0 ? a : b == -1 ? 0 : a % b"),
    ("neg.T", SIGNED, "U = U", "0 - a"),
    ("abs.T", SIGNED, "U = T", "a < 0 ? (U)(0 - (U)a) : (U)a"),
    ("min.T", INTEGERS, "T = T T", "a < b ? a : b"),
    ("max.T", INTEGERS, "T = T T", "a > b ? a : b"),
    ("min.s16x2", "", "b32 = b32 b32", "ptx_min_s16x2(a, b)"),
    ("max.s16x2", "", "b32 = b32 b32", "ptx_max_s16x2(a, b)"),
    ("min.u16x2", "", "b32 = b32 b32", "ptx_min_u16x2(a, b)"),
    ("max.u16x2", "", "b32 = b32 b32", "ptx_max_u16x2(a, b)"),

    # ---- bits
    ("and.T", BITWISE + " pred", "T = T T", "a & b"),
    ("or.T", BITWISE + " pred", "T = T T", "a | b"),
    ("xor.T", BITWISE + " pred", "T = T T", "a ^ b"),
    ("not.T", BITWISE, "T = T", "~a"),
    ("not.pred", "", "pred = pred", "!a"),
    ("shl.T", BITWISE, "T = T u32", "b >= N ? 0 : (uint64_t)a << b"),
    ("shr.T", f"{BITWISE} {UNSIGNED}", "T = T u32", "b >= N ? 0 : a >> b"),
    ("shr.T", SIGNED, "T = T u32", "a >> (b >= N ? N - 1 : b)"),
    ("shf.l.wrap.b32", "", "b32 = b32 b32 u32", "ptx_both(a, b) << (c & 31) >> 32"),
    ("shf.r.wrap.b32", "", "b32 = b32 b32 u32", "ptx_both(a, b) >> (c & 31)"),
    ("popc.b32", "", "u32 = b32", "__builtin_popcount(a)"),
    ("popc.b64", "", "u32 = b64", "__builtin_popcountll(a)"),
    ("clz.b32", "", "u32 = b32", "a == 0 ? 32 : __builtin_clz(a)"),
    ("brev.b32", "", "b32 = b32", "ptx_reversed(a)"),
    ("bfind.shiftamt.u32", "", "u32 = u32", "a == 0 ? ~0u : __builtin_clz(a)"),
    ("bfind.u32", "", "u32 = u32", "a == 0 ? ~0u : 31 - __builtin_clz(a)"),
    ("bfe.u32", "", "u32 = u32 u32 u32", "ptx_extracted(a, b, c)"),
    ("bfi.T", "b32 b64", "T = T T u32 u32", "ptx_inserted(a, b, c, d, N)"),
    ("prmt.b32", "", "b32 = b32 b32 b32", "ptx_permuted(ptx_both(a, b), c)"),
    ("lop3.b32", "", "b32 = b32 b32 b32 u32", "ptx_lop3(a, b, c, d)"),
    ("selp.T", ANY, "T = T T pred", "c ? a : b"),

    # ---- floats, rounded to nearest even; where ftz says so, none is subnormal
    ("add.rn.T", FLOATS, "T = T T", "a + b"),
    ("sub.rn.T", FLOATS, "T = T T", "a - b"),
    ("mul.rn.T", FLOATS, "T = T T", "a * b"),
    ("div.rn.T", FLOATS, "T = T T", "a / b"),
    ("fma.rn.f32", "", "f32 = f32 f32 f32", "fmaf(a, b, c)"),
    ("fma.rn.f64", "", "f64 = f64 f64 f64", "fma(a, b, c)"),
    ("sqrt.rn.f32", "", "f32 = f32", "sqrtf(a)"),
    ("sqrt.rn.f64", "", "f64 = f64", "sqrt(a)"),
    ("rcp.approx.ftz.f32", "", "f32 = f32", "ptx_flushed(1.0f / ptx_flushed(a))"),
    ("ex2.approx.ftz.f32", "", "f32 = f32", "ptx_flushed(exp2f(ptx_flushed(a)))"),
    ("neg.f32", "", "b32 = b32", "a ^ 0x80000000u"),
    ("neg.f64", "", "b64 = b64", "a ^ 1ull << 63"),
    ("abs.f32", "", "b32 = b32", "a & 0x7fffffffu"),
    ("abs.f64", "", "b64 = b64", "a & ~(1ull << 63)"),
    ("copysign.f32", "", "b32 = b32 b32", "(a & 0x80000000u) | (b & 0x7fffffffu)"),
    ("min.f32", "", "f32 = f32 f32", "ptx_min(a, b)"),
    ("max.f32", "", "f32 = f32 f32", "ptx_max(a, b)"),

    # ---- pairs of halves; .NaN: what is no number wins
    ("min.NaN.f16x2", "", "b32 = b32 b32", "ptx_min_f16x2(a, b)"),
    ("min.NaN.bf16x2", "", "b32 = b32 b32", "ptx_min_bf16x2(a, b)"),
    ("fma.rn.f16x2", "", "b32 = b32 b32 b32", "ptx_fma_f16x2(a, b, c)"),
    ("fma.rn.bf16x2", "", "b32 = b32 b32 b32", "ptx_fma_bf16x2(a, b, c)"),

    # ---- conversions
    ("cvt.f64.f32", "", "f64 = f32", "a"),
    ("cvt.rn.f32.f64", "", "f32 = f64", "a"),
    ("cvt.rn.f32.T", f"{UNSIGNED} {SIGNED}", "f32 = T", "a"),
    ("cvt.rn.f64.T", "u32 s32 u64 s64", "f64 = T", "a"),
    ("cvt.f32.f16", "", "f32 = b16", "ptx_from_f16(a)"),
    ("cvt.rn.f16.f32", "", "b16 = f32", "ptx_to_f16(a)"),
    ("cvt.rn.bf16.f32", "", "b16 = f32", "ptx_to_bf16(a)"),
    ("cvt.rn.f16x2.f32", "", "b32 = f32 f32", "ptx_pair(ptx_to_f16(a), ptx_to_f16(b))"),
    ("cvt.rn.bf16x2.f32", "", "b32 = f32 f32", "ptx_pair(ptx_to_bf16(a), ptx_to_bf16(b))"),
    ("cvt.rn.satfinite.e4m3x2.f32", "", "b16 = f32 f32",
     "(uint16_t)(ptx_to_e4m3(a) << 8 | ptx_to_e4m3(b))"),
    ("cvt.rn.f16x2.e4m3x2", "", "b32 = b16",
     "ptx_pair(ptx_from_e4m3(a >> 8), ptx_from_e4m3(a & 255))"),
]

# Comparisons; of floats the plain ones are false, those with a u true where one is no number.
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
OPPOSITE = {"lt": ">=", "le": ">", "gt": "<=", "ge": "<"}
for name, sign in COMPARE.items():
    kinds = f"{BITWISE} {INTEGERS}" if name in ("eq", "ne") else INTEGERS
    ROWS.append((f"setp.{name}.T", kinds, "pred = T T", f"a {sign} b"))
    if name in OPPOSITE:
        ROWS.append((f"setp.{name}.T", FLOATS, "pred = T T", f"a {sign} b"))
        ROWS.append((f"setp.{name}u.T", FLOATS, "pred = T T", f"!(a {OPPOSITE[name]} b)"))
ROWS += [
    ("setp.eq.T", FLOATS, "pred = T T", "a == b"),
    ("setp.equ.T", FLOATS, "pred = T T", "!(a < b || a > b)"),
    ("setp.ne.T", FLOATS, "pred = T T", "a < b || a > b"),
    ("setp.neu.T", FLOATS, "pred = T T", "!(a == b)"),
    ("setp.nan.T", FLOATS, "pred = T T", "isunordered(a, b)"),
    ("setp.num.T", FLOATS, "pred = T T", "!isunordered(a, b)"),
]

# Between integers a cvt cuts or extends by the sign of what it reads.
for to in ("u8", "s8", *INTEGERS.split()):
    for of in ("u8", "s8", *INTEGERS.split()):
        ROWS.append((f"cvt.{to}.{of}", "", f"{to} = {of}", "a"))


@dataclass
class Row:
    result: str         # type
    operands: list      # types
    c: str
    row: int            # index in ROWS


def wide(of_type):
    return of_type[0] + str(2 * BITS[of_type])


def expand(index, opcode, of_type, types, c):
    """The row of one type."""
    words = {}
    if of_type:
        unsigned = of_type if of_type in ("f32", "f64", "pred") else "u" + of_type[1:]
        words = {"T": of_type, "U": unsigned}
        if BITS[of_type] in (16, 32) and of_type[0] in "us":
            words["W"] = wide(of_type)
            words["UW"] = wide(unsigned)
    result, operands = types.split(" = ")
    name = lambda t: words.get(t, t)
    c = re.sub(r"\b(UW|W|T|U)\b", lambda m: C_TYPE[words[m[1]]], c)
    c = re.sub(r"\bN\b", lambda m: str(BITS[of_type]), c)
    return (re.sub(r"\bT$", of_type, opcode),
            Row(name(result), [name(t) for t in operands.split()], c, index))


def table():
    rows = {}
    for index, (opcode, of_types, types, c) in enumerate(ROWS):
        for of_type in of_types.split() or [""]:
            full, row = expand(index, opcode, of_type, types, c)
            assert full not in rows, f"{full} has two rows"
            rows[full] = row
    return rows


TABLE = table()
