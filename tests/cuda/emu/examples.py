# SPDX-License-Identifier: Apache-2.0
"""examples.py examples.txt FILE.ptx FILE.h - PTX that runs each line of examples.txt.

FILE.h has a row EXAMPLE(kernel, line, a, b, c, d, result) for each. A row of the
translator's table that no line is about is an error; conversions between integers
are one thing, of which a few lines are about.
"""
import re
import sys

from ptx import BITS
from ptx_rows import ROWS, TABLE

REGISTERS = {"pred": "p", "16": "h", "32": "r", "64": "q"}


def bits_of(of_type):
    return "pred" if of_type == "pred" else str(max(16, BITS[of_type]))


def load(index, of_type):
    """Parameter `index` into a register of its own, whose name this returns, and the PTX."""
    bits = bits_of(of_type)
    name = f"%{REGISTERS[bits]}{index}"
    if bits == "pred":
        return name, f"ld.param.u32 %r{index}, [p{index}];\nsetp.ne.s32 {name}, %r{index}, 0;"
    return name, f"ld.param.b{bits} {name}, [p{index}];"


def kernel(name, opcode):
    row = TABLE[opcode]
    loaded = [load(i, t) for i, t in enumerate(row.operands)]
    bits = bits_of(row.result)
    result = f"%{REGISTERS[bits]}8"
    store = f"st.global.b{bits} [%q9], {result};"
    if bits == "pred":
        store = f"selp.b32 %r8, 1, 0, {result};\nst.global.b32 [%q9], %r8;"
    params = ", ".join(f".param .u64 p{i}" for i in range(4)) + ", .param .u64 to"
    lines = "\n".join(ptx for _, ptx in loaded)
    operands = ", ".join([result] + [register for register, _ in loaded])
    return f"""
.visible .entry {name}({params})
{{
.reg .pred %p<10>;
.reg .b16 %h<10>;
.reg .b32 %r<10>;
.reg .b64 %q<10>;
ld.param.u64 %q9, [to];
{lines}
{opcode} {operands};
{store}
ret;
}}
"""


def main():
    ptx, rows, seen = ".version 9.0\n.target sm_90\n.address_size 64\n", [], set()
    with open(sys.argv[1], encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if line.startswith("#"):
                continue
            opcode, *operands = line.split()
            if opcode not in TABLE:
                sys.exit(f"{sys.argv[1]}:{number}: {opcode} is not in the table")
            seen.add(TABLE[opcode].row)
            values = operands[:-2] + ["0"] * (6 - len(operands)) + operands[-1:]
            ptx += kernel(f"example_{number}", opcode)
            rows.append(f'EXAMPLE("example_{number}", "{line.strip()}", ' +
                        ", ".join(f"0x{v}" for v in values) + ")")
    for index, row in enumerate(ROWS):
        if index not in seen and not re.match(r"cvt\.[us]\d+\.[us]\d+$", row[0]):
            sys.exit(f"{sys.argv[1]}: no line is about {row[0]} ({row[1]})")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(ptx)
    with open(sys.argv[3], "w", encoding="utf-8") as f:
        f.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
