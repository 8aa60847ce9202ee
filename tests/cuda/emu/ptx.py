# SPDX-License-Identifier: Apache-2.0
"""ptx.py - reads PTX as nvcc writes it: modules, kernels, their statements.

Nothing is skipped silently. What is not a statement that is known here ends the
reading with Refused, which names the thing, its file and its line.
"""
import bisect
import re
from dataclasses import dataclass, field

# Bits of a type. Registers hold bits; what those mean is the instruction's affair.
BITS = {"pred": 1}
BITS.update({k + str(n): n for k in "bus" for n in (8, 16, 32, 64)})
BITS.update({"f32": 32, "f64": 64})

# Hints that change no result.
HARMLESS_PRAGMAS = re.compile(r'"(nounroll|used_bytes_mask \d+)"$')


class Refused(Exception):
    """Something that the translator does not know."""


@dataclass
class Statement:
    kind: str           # "open", "close", "label", "reg", "local", "shared", "code"
    line: int
    guard: str = ""     # register whose truth lets it run, with "!" before it if falsehood does
    opcode: str = ""
    operands: list = field(default_factory=list)
    name: str = ""
    type: str = ""
    count: int = 0      # registers of the name<count> form; bytes of an array
    align: int = 1


@dataclass
class Param:
    name: str
    offset: int
    bytes: int


@dataclass
class Array:            # in shared or global memory
    name: str
    bytes: int          # 0: as much as the launch says
    align: int
    values: str = ""


@dataclass
class Kernel:
    name: str
    line: int
    params: list
    max_threads: int    # of a block; 0: as many as the device has
    body: list


@dataclass
class Module:
    file: str
    kernels: list = field(default_factory=list)
    shared: dict = field(default_factory=dict)
    globals: dict = field(default_factory=dict)


def split_operands(text):
    """At the commas that stand in no braces or brackets."""
    found, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "{[(":
            depth += 1
        elif c in "}])":
            depth -= 1
        elif c == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    if text.strip():
        found.append(text[start:].strip())
    return found


class Reader:
    ENTRY = re.compile(r"\.(?:visible|weak)\s+\.entry\s+([\w$]+)\s*\(([^)]*)\)\s*((?:\.\w+[ \d,]*\s*)*)\{")
    ARRAY = re.compile(r"(?:\.visible\s+|\.extern\s+)?\.(shared|global|const)\s+\.align\s+(\d+)"
                       r"\s+\.b8\s+([\w$]+)\[(\d*)\]\s*(?:=\s*\{([^}]*)\})?\s*;")
    HEADER = re.compile(r"\.(version|target|address_size)\s+(\S+)")
    PARAM = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?$")
    LABEL = re.compile(r"([\w$]+):(?!:)")
    REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.S)
    PLACE = re.compile(r"\.(local|shared)\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\]$")
    CODE = re.compile(r"(?:@(!?%[\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)$", re.S)

    def __init__(self, file, text):
        self.file = file
        # Comments become blanks, so that places stay what they are.
        blank = lambda m: re.sub(r"[^\n]", " ", m.group())
        self.text = re.sub(r"//[^\n]*|/\*.*?\*/", blank, text, flags=re.S)
        self.ends = [m.start() for m in re.finditer("\n", self.text)]

    def line(self, at):
        return bisect.bisect_left(self.ends, at) + 1

    def refuse(self, at, what):
        raise Refused(f"{self.file}:{self.line(at)}: {what}")

    def module(self):
        m, at = Module(self.file), self.skip_blank(0)
        while at < len(self.text):
            if (found := self.HEADER.match(self.text, at)):
                if found[1] == "address_size" and found[2] != "64":
                    self.refuse(at, f"addresses of {found[2]} bits")
                at = found.end()
            elif (found := self.ARRAY.match(self.text, at)):
                self.module_array(m, found)
                at = found.end()
            elif (found := self.ENTRY.match(self.text, at)):
                at = self.kernel(m, found)
            else:
                self.refuse(at, f"'{self.text[at:at + 60].split(chr(10))[0].strip()}' is not known")
            at = self.skip_blank(at)
        return m

    def skip_blank(self, at):
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at

    def module_array(self, module, found):
        space, align, name, n_bytes, values = found.groups()
        array = Array(name, int(n_bytes or 0), int(align), values or "")
        if space == "shared":
            module.shared[name] = array
        elif values is None:
            self.refuse(found.start(), f"{name}: .{space} memory without values")
        else:
            module.globals[name] = array

    def kernel(self, module, found):
        name, params, limits = found.groups()
        max_threads = 0
        for limit in re.findall(r"\.(\w+)([ \d,]*)", limits):
            if limit[0] == "maxntid":
                max_threads = 1
                for n in limit[1].split(","):
                    max_threads *= int(n)
            elif limit[0] not in ("minnctapersm", "maxnreg"):
                self.refuse(found.start(3), f".{limit[0]} is not known")
        body, end = self.body(found.end())
        module.kernels.append(Kernel(name, self.line(found.start()),
                                     self.params(params, found.start(2)), max_threads, body))
        return end

    def params(self, text, at):
        params, offset = [], 0
        for part in split_operands(text):
            found = self.PARAM.match(part)
            if not found or found[2] not in BITS:
                self.refuse(at, f"parameter '{part}' is not known")
            size = BITS[found[2]] // 8
            align = int(found[1] or size)
            size *= int(found[4] or 1)
            offset = -(-offset // align) * align
            params.append(Param(found[3], offset, size))
            offset += size
        return params

    def body(self, at):
        """Statements up to the brace that closes the kernel; and where that ends."""
        body, depth = [], 1
        while True:
            at = self.skip_blank(at)
            if at >= len(self.text):
                self.refuse(at, "the file ends in a kernel")
            c = self.text[at]
            if c in "{}":
                depth += 1 if c == "{" else -1
                at += 1
                if depth == 0:
                    return body, at
                body.append(Statement("open" if c == "{" else "close", self.line(at - 1)))
            elif (found := self.LABEL.match(self.text, at)):
                body.append(Statement("label", self.line(at), name=found[1]))
                at = found.end()
            else:
                end = self.text.find(";", at)
                if end < 0:
                    self.refuse(at, "a statement without an end")
                body.extend(self.statement(self.text[at:end].strip(), at))
                at = end + 1

    def statement(self, text, at):
        line = self.line(at)
        if text.startswith(".pragma"):
            if not HARMLESS_PRAGMAS.match(text[7:].strip()):
                self.refuse(at, f"'{text}' is not known")
            return []
        if (found := self.REGISTERS.match(text)):
            return [self.registers(found[1], one.strip(), at) for one in found[2].split(",")]
        if (found := self.PLACE.match(text)):
            return [Statement(found[1], line, name=found[3], align=int(found[2]),
                              count=int(found[4]))]
        found = self.CODE.match(text)
        if not found:
            self.refuse(at, f"'{text.split()[0]}' is not known")
        return [Statement("code", line, guard=found[1] or "", opcode=found[2],
                          operands=split_operands(found[3]))]

    def registers(self, of_type, text, at):
        found = re.match(r"(%[\w$]+?)(?:<(\d+)>)?$", text)
        if not found or of_type not in BITS:
            self.refuse(at, f"registers '.{of_type} {text}' are not known")
        return Statement("reg", self.line(at), name=found[1], type=of_type,
                         count=int(found[2] or 0))
