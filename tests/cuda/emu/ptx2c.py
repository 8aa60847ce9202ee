#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ptx2c.py FILE.ptx FILE.c - translate nvcc's PTX into C for the fibers of tests/simt.

Each kernel becomes a C function that runs one thread, and a row of the table that the
emulated driver looks kernels up in. Registers become variables that hold bits, labels
stay labels, meetings of threads become calls of simt.h, at the PTX's own lines. An
instruction, modifier, type or directive that is not known is refused by name, and
nothing is written.
"""
import os
import re
import sys

from ptx import BITS, Array, Reader, Refused
from ptx_rows import C_TYPE, TABLE

SPECIAL = {"%laneid": "simt_lane()"}
for place, field in (("tid", "thread"), ("ctaid", "block"), ("ntid", "block_dim"),
                     ("nctaid", "grid_dim")):
    for axis in "xyz":
        SPECIAL[f"%{place}.{axis}"] = f"simt_self->{field}.{axis}"

SPACES = ("global", "shared", "local", "param", "const")
CACHE_HINTS = ("nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "volatile")
VECTORS = {"v2": 2, "v4": 4}
ATOMS = {"add": "old + v", "min": "v < old ? v : old", "max": "v > old ? v : old",
         "and": "old & v", "or": "old | v", "xor": "old ^ v", "exch": "v"}


def c_name(name):
    """A PTX name in C; registers with names of their own do not meet those with numbers."""
    bare = re.sub(r"[%$]", "", name)
    return bare if not name.startswith("%") or re.match(r"[a-z]+\d+$", bare) else "own_" + bare


class Translator:
    def __init__(self, module):
        self.module = module
        self.line = 0
        self.opcode = ""

    def refuse(self, what="is not known"):
        raise Refused(f"{self.module.file}:{self.line}: {self.opcode} {what}".replace("  ", " "))

    # ---- operands ------------------------------------------------------

    def register_bits(self, name):
        """Bits of a register of that name, or 0."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
            found = re.match(r"(%[a-z]+)(\d+)$", name)
            if found and int(found[2]) < scope.get(found[1] + "<>", (0, 0))[1]:
                return scope[found[1] + "<>"][0]
        return 0

    def immediate(self, text, of_type):
        if (found := re.match(r"0[fF]([0-9a-fA-F]{8})$", text)):
            if of_type not in ("f32", "b32"):
                self.refuse(f"takes {text} as {of_type}")
            return f"ptx_float(0x{found[1]}u)" if of_type == "f32" else f"0x{found[1]}u"
        if (found := re.match(r"0[dD]([0-9a-fA-F]{16})$", text)):
            if of_type not in ("f64", "b64"):
                self.refuse(f"takes {text} as {of_type}")
            return f"ptx_double(0x{found[1]}ull)" if of_type == "f64" else f"0x{found[1]}ull"
        if of_type == "pred":
            return str(int(text != "0")) if re.match(r"-?\d+$", text) else None
        if re.match(r"-?(\d+|0[xX][0-9a-fA-F]+)[uU]?$", text) and of_type[0] in "bus":
            value = int(text.rstrip("uU"), 0) % (1 << BITS[of_type])
            return f"({C_TYPE[of_type]})0x{value:x}ull"
        return None

    def address_of(self, name):
        if name in self.params:
            return f"((uint64_t)(uintptr_t)params + {self.params[name]})"
        if name in self.shared:
            return f"((uint64_t){self.shared[name]})"
        if name in self.local or name in self.module.globals:
            return f"(uint64_t)(uintptr_t){c_name(name)}"
        return None

    def read(self, text, of_type, loose=False):
        """C of an operand. `loose`: the register may be wider than the type."""
        if (bits := self.register_bits(text)):
            if bits != BITS[of_type] and not (loose and bits > BITS[of_type] > 1):
                self.refuse(f"reads {text} of {bits} bits as {of_type}")
            if of_type == "f32":
                return f"ptx_float({c_name(text)})"
            if of_type == "f64":
                return f"ptx_double({c_name(text)})"
            return f"({C_TYPE[of_type]}){c_name(text)}"
        if text in SPECIAL and of_type in ("u32", "b32"):
            return SPECIAL[text]
        if of_type == "pred" and text.startswith("!"):
            return f"!{self.read(text[1:], of_type)}"
        value = self.immediate(text, of_type)
        if value is None and of_type[1:] in ("32", "64"):
            value = self.address_of(text)
        if value is None:
            self.refuse(f"reads '{text}' as {of_type}, which is not known")
        return value

    def write(self, text, of_type, value, loose=False):
        if text == "_":
            return f"(void)({value});"
        bits = self.register_bits(text)
        if bits != BITS[of_type] and not (loose and bits > BITS[of_type] > 1):
            self.refuse(f"writes {text} of {bits} bits as {of_type}")
        if of_type == "pred":
            return f"{c_name(text)} = ({value}) != 0;"
        if of_type == "f32":
            return f"{c_name(text)} = ptx_float_bits({value});"
        if of_type == "f64":
            return f"{c_name(text)} = ptx_double_bits({value});"
        return f"{c_name(text)} = (uint{bits}_t)({C_TYPE[of_type]})({value});"

    def vector(self, text, n):
        parts = [p.strip() for p in text[1:-1].split(",")] if text.startswith("{") else [text]
        if len(parts) != n:
            self.refuse(f"has {len(parts)} registers in '{text}'")
        return parts

    def address(self, text, space):
        found = re.match(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]$", text)
        if not found:
            self.refuse(f"has the address '{text}', which is not known")
        name, offset = found[1], int(found[2] or 0)
        if (bits := self.register_bits(name)):
            at = f"(uint64_t){c_name(name)}"
            if bits not in (32, 64) or (bits == 32 and space != "shared"):
                self.refuse(f"has an address of {bits} bits")
        else:
            at = self.address_of(name)
            if at is None:
                self.refuse(f"has the address '{name}', which is not known")
        if space == "shared":
            at = f"SHARED + (uint32_t)({at})"
        return f"{at} + ({offset}ll)" if offset else at

    def want(self, operands, n):
        if len(operands) != n:
            self.refuse(f"has {len(operands)} operands")
        return operands

    def site(self):
        return f'PTX_SITE("{self.opcode}", {self.line})'

    # ---- instructions --------------------------------------------------

    def code(self, statement):
        self.line, self.opcode = statement.line, statement.opcode
        operands = statement.operands
        base = statement.opcode.split(".")[0]
        special = getattr(self, "do_" + base, None)
        if statement.opcode in TABLE:
            c = self.from_table(TABLE[statement.opcode], operands)
        elif special:
            c = special(statement.opcode.split(".")[1:], operands)
        else:
            self.refuse()
        if statement.guard:
            no = "!" if statement.guard[0] == "!" else ""
            c = f"if ({no}{self.read(statement.guard.lstrip('!'), 'pred')}) {{ {c} }}"
        return c

    def from_table(self, row, operands):
        self.want(operands, len(row.operands) + 1)
        loose = self.opcode.startswith("cvt.")
        values = {letter: f"({self.read(text, of_type, loose)})" for letter, text, of_type in
                  zip("abcd", operands[1:], row.operands)}
        c = re.sub(r"\b[abcd]\b", lambda m: values[m[0]], row.c)
        return self.write(operands[0], row.result, c, loose)

    def do_mov(self, modifiers, operands):
        if len(modifiers) != 1 or modifiers[0] not in BITS or BITS[modifiers[0]] == 8:
            self.refuse()
        of_type, (to, value) = modifiers[0], self.want(operands, 2)
        if "{" not in to + value:
            return self.write(to, of_type, self.read(value, of_type))
        n = (to if to.startswith("{") else value).count(",") + 1
        bits = BITS[of_type] // n
        if of_type[0] != "b" or bits not in (16, 32):
            self.refuse(f"with {n} parts")
        part = f"b{bits}"
        if to.startswith("{"):
            stores = [self.write(p, part, f"WHOLE >> {i * bits}") for i, p in
                      enumerate(self.vector(to, n))]
            return f"{{ uint64_t WHOLE = {self.read(value, of_type)}; {' '.join(stores)} }}"
        parts = [f"(uint64_t)({self.read(p, part)}) << {i * bits}" for i, p in
                 enumerate(self.vector(value, n))]
        return self.write(to, of_type, " | ".join(parts))

    def memory(self, modifiers):
        """Space, type and length of the vector, of a load or a store."""
        space, n, of_type = "", 1, modifiers[-1] if modifiers else ""
        for m in modifiers[:-1]:
            if m in SPACES and not space:
                space = m
            elif m in VECTORS and n == 1:
                n = VECTORS[m]
            elif m not in CACHE_HINTS:
                self.refuse(f": .{m} is not known")
        if of_type not in BITS or of_type == "pred":
            self.refuse(f": .{of_type} is not known")
        return space, of_type, n

    def access(self, how, at, space, bytes_):
        check = "" if space == "param" else f" ptx_{how}(AT, {bytes_}, PTX_FILE, {self.line});"
        return f"uint64_t AT = {self.address(at, space)};{check}"

    def do_ld(self, modifiers, operands):
        space, of_type, n = self.memory(modifiers)
        to, at = self.want(operands, 2)
        # Through registers' bits, so that a NaN stays what it is.
        bits = of_type if of_type[0] != "f" else "b" + of_type[1:]
        size = BITS[bits] // 8
        loads = [f"{C_TYPE[bits]} V{i} = PTX_AT({C_TYPE[bits]}, AT + {i * size});" for i in
                 range(n)]
        stores = [self.write(p, bits, f"V{i}", True) for i, p in enumerate(self.vector(to, n))]
        return f"{{ {self.access('load', at, space, size * n)} {' '.join(loads + stores)} }}"

    def do_st(self, modifiers, operands):
        space, of_type, n = self.memory(modifiers)
        at, value = self.want(operands, 2)
        if space in ("param", "const"):
            self.refuse(f"to .{space}")
        bits = of_type if of_type[0] != "f" else "b" + of_type[1:]
        size = BITS[bits] // 8
        stores = [f"PTX_AT({C_TYPE[bits]}, AT + {i * size}) = {self.read(p, bits, True)};" for
                  i, p in enumerate(self.vector(value, n))]
        return f"{{ {self.access('store', at, space, size * n)} {' '.join(stores)} }}"

    def do_cvta(self, modifiers, operands):
        to, value = self.want(operands, 2)
        known = (["to"] if modifiers[:1] == ["to"] else [])
        if len(modifiers) != len(known) + 2 or modifiers[-2] not in SPACES or \
                modifiers[-1] != "u64":
            self.refuse()
        shift = ""
        if modifiers[-2] == "shared":
            shift = " - SHARED" if known else " + SHARED"
        return self.write(to, "u64", self.read(value, "u64") + shift)

    def do_atom(self, modifiers, operands, result=True):
        if modifiers[:1] not in (["global"], ["shared"]):
            modifiers = ["generic"] + modifiers
        scopes = [m for m in modifiers[1:-2] if m not in ("relaxed", "gpu", "cta", "sys")]
        if len(modifiers) < 3 or scopes or modifiers[-2] not in ATOMS or \
                modifiers[-1] not in ("u32", "s32", "b32", "u64", "s64", "b64"):
            self.refuse()
        space, of_type, change = modifiers[0], modifiers[-1], ATOMS[modifiers[-2]]
        to, at, value = self.want(operands if result else ["_"] + operands, 3)
        if of_type[0] == "s" and modifiers[-2] == "add":
            of_type = "u" + of_type[1:]
        old = self.write(to, of_type, f"PTX_ATOM({C_TYPE[of_type]}, AT, "
                                      f"{self.read(value, of_type)}, {change})")
        return f"{{ {self.access('store', at, space, BITS[of_type] // 8)} {old} }}"

    def do_red(self, modifiers, operands):
        return self.do_atom(modifiers, operands, result=False)

    def do_bra(self, modifiers, operands):
        if modifiers not in ([], ["uni"]):
            self.refuse()
        label, = self.want(operands, 1)
        if label not in self.labels:
            self.refuse(f"goes to {label}, which is not there")
        return f"goto {c_name(label)};"

    def do_ret(self, modifiers, operands):
        if modifiers not in ([], ["uni"]) or operands:
            self.refuse()
        return "return;"

    do_exit = do_ret

    def do_bar(self, modifiers, operands):
        of_all = {"red.or.pred": "ANY", "red.and.pred": "ALL", "red.popc.u32": "COUNT"}
        op = of_all.get(".".join(modifiers))
        if op and len(operands) == 3 and operands[1] == "0":
            value = f"(uint64_t)(({self.read(operands[2], 'pred')}) != 0)"
            return self.write(operands[0], modifiers[-1],
                              f"simt_meet_block(SIMT_{op}, {value}, {self.site()})")
        if self.opcode not in ("bar.sync", "barrier.sync") or operands != ["0"]:
            self.refuse(", ".join(operands) + " is not known")
        return f"simt_meet_block(SIMT_SYNC, 0, {self.site()});"

    do_barrier = do_bar

    def do_shfl(self, modifiers, operands):
        if len(modifiers) != 3 or modifiers[0] != "sync" or modifiers[2] != "b32" or \
                modifiers[1] not in ("up", "down", "bfly", "idx"):
            self.refuse()
        to, value, b, c, mask = self.want(operands, 5)
        to, _, inside = to.partition("|")
        stores = self.write(to, "b32", "GOT")
        if inside:
            stores += " " + self.write(inside, "pred", "INSIDE")
        return (f"{{ uint8_t INSIDE; uint32_t FROM = ptx_shuffle_from(PTX_{modifiers[1].upper()}, "
                f"{self.read(b, 'u32')}, {self.read(c, 'u32')}, &INSIDE); uint32_t GOT = "
                f"(uint32_t)simt_meet_warp(SIMT_SHUFFLE, {self.read(mask, 'b32')}, "
                f"{self.read(value, 'b32')}, FROM, {self.site()}); {stores} }}")

    def meet(self, op, mask, value):
        return f"simt_meet_warp({op}, {self.read(mask, 'b32')}, {value}, 0, {self.site()})"

    def do_vote(self, modifiers, operands):
        to, value, mask = self.want(operands, 3)
        value = f"(uint64_t)(({self.read(value, 'pred')}) != 0)"
        if modifiers == ["sync", "ballot", "b32"]:
            return self.write(to, "b32", self.meet("SIMT_BALLOT", mask,
                                                   f"{value} << simt_lane()"))
        if modifiers not in (["sync", "all", "pred"], ["sync", "any", "pred"]):
            self.refuse()
        return self.write(to, "pred", self.meet("SIMT_" + modifiers[1].upper(), mask, value))

    def do_redux(self, modifiers, operands):
        if len(modifiers) != 3 or f"{modifiers[1]}.{modifiers[2]}" not in (
                "add.u32", "min.u32", "max.u32", "and.b32", "or.b32"):
            self.refuse()
        to, value, mask = self.want(operands, 3)
        return self.write(to, "b32", self.meet("SIMT_" + modifiers[1].upper(), mask,
                                               self.read(value, "b32")))

    def do_mma(self, modifiers, operands):
        kinds = {f"sync.aligned.m16n8k16.row.col.f32.{h}.{h}.f32": h for h in ("f16", "bf16")}
        half = kinds.get(".".join(modifiers))
        if not half:
            self.refuse()
        to, a, b, c = self.want(operands, 4)
        read = lambda text, n, of_type: ", ".join(self.read(p, of_type) for p in
                                                  self.vector(text, n))
        stores = [self.write(p, "f32", f"D[{i}]") for i, p in enumerate(self.vector(to, 4))]
        return (f"{{ float D[4] = {{ {read(c, 4, 'f32')} }}; "
                f"uint32_t A[4] = {{ {read(a, 4, 'b32')} }}, B[2] = {{ {read(b, 2, 'b32')} }}; "
                f"ptx_mma_m16n8k16(D, A, B, PTX_{half.upper()}, {self.site()}); "
                f"{' '.join(stores)} }}")

    def do_prefetch(self, modifiers, operands):
        if modifiers not in (["global", "L1"], ["global", "L2"], ["L1"], ["L2"]):
            self.refuse()
        return f"(void)({self.address(self.want(operands, 1)[0], 'global')});"

    # ---- kernels -------------------------------------------------------

    def statement(self, s):
        self.line = s.line
        if s.kind == "open":
            self.scopes.append({})
            return "{"
        if s.kind == "close":
            self.scopes.pop()
            return "}"
        if s.kind == "label":
            return f"{c_name(s.name)}: ;"
        if s.kind == "local":
            self.local.add(s.name)
            return f"_Alignas({s.align}) unsigned char {c_name(s.name)}[{s.count}];"
        if s.kind == "reg":
            return self.registers(s)
        return "" if s.kind == "shared" else self.code(s)

    def registers(self, s):
        """Full of garbage: PTX leaves them undefined, and C must not make use of that."""
        bits, scope = BITS[s.type], self.scopes[-1]
        if s.count:
            scope[s.name + "<>"] = (bits, s.count)
            names = [f"{s.name}{i}" for i in range(s.count)]
        else:
            scope[s.name] = bits
            names = [s.name]
        value = "1" if bits == 1 else f"(uint{bits}_t)0xa5a5a5a5a5a5a5a5ull"
        return f"uint{max(bits, 8)}_t " + ", ".join(f"{c_name(n)} = {value}" for n in names) + ";"

    def place_shared(self, kernel):
        """Where shared arrays lie that the kernel names; those of open length follow."""
        arrays = dict(self.module.shared)
        for s in kernel.body:
            if s.kind == "shared":
                arrays[s.name] = Array(s.name, s.count, s.align)
        words = {w for s in kernel.body for o in s.operands for w in re.findall(r"[\w$]+", o)}
        end = 0
        for array in sorted(arrays.values(), key=lambda a: a.bytes == 0):
            if array.name in words:
                end = -(-end // array.align) * array.align
                self.shared[array.name] = end
                end += array.bytes
        return end

    def kernel(self, number, k):
        self.params = {p.name: p.offset for p in k.params}
        self.shared, self.local, self.scopes = {}, set(), [{}]
        self.labels = {s.name for s in k.body if s.kind == "label"}
        shared_bytes = self.place_shared(k)
        body = "\n".join(filter(None, map(self.statement, k.body)))
        params = ", ".join(f"{{ {p.offset}, {p.bytes} }}" for p in k.params) or "{ 0, 0 }"
        return f"""
/* {k.name} */
static void run_{number}(unsigned char *params)
{{
const uint64_t SHARED = (uint64_t)(uintptr_t)simt_shared();
(void)SHARED; (void)params;
{body}
}}
static const struct ptx_param params_{number}[] = {{ {params} }};
static const struct ptx_kernel kernel_{number} = {{ "{k.name}", run_{number},
	params_{number}, {len(k.params)}, {shared_bytes}, {k.max_threads} }};
PTX_KERNEL(kernel_{number});
"""

    def c(self):
        arrays = "".join(f"static _Alignas({a.align}) const unsigned char {a.name}[{a.bytes}] = "
                         f"{{ {a.values} }};\n" for a in self.module.globals.values())
        kernels = [self.kernel(i, k) for i, k in enumerate(self.module.kernels)]
        return (f'/* {self.module.file}, translated by ptx2c.py. */\n#include '
                f'"tests/cuda/emu/ptx.h"\n\n#define PTX_FILE "{self.module.file}"\n{arrays}'
                + "".join(kernels))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    try:
        with open(sys.argv[1], encoding="utf-8") as f:
            module = Reader(os.path.basename(sys.argv[1]), f.read()).module()
        c = Translator(module).c()
    except Refused as e:
        sys.exit(f"ptx2c: {e}")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(c)


if __name__ == "__main__":
    main()
