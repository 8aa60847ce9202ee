# SPDX-License-Identifier: Apache-2.0
"""ckv - compression methods of the node-local KV cache, as libckv knows them.

    >>> ckv.method("tova(keep=0.25) + int8")
    'tova(keep=1/4) + kivi(bits=8, group=64, full=0)'

The text is the one that the daemon's configuration, the ckv command and the C library
take. Parser and table are libckv's; no daemon is asked. The library is libckv.so.0
where the system's loader finds it, or the file that $CKV_LIBRARY names.
"""
import ctypes
import os

__all__ = ["method", "methods"]

_TEXT_BYTES = 256    # CKV_METHOD_SIZE, CKV_REASON_SIZE of ckv.h
_REASON_BYTES = 200


class _Entry(ctypes.Structure):    # struct ckv_method_entry
    _fields_ = [(name, ctypes.c_char_p)
                for name in ("name", "stage", "help", "needs", "paper")]
    _fields_ += [("n_params", ctypes.c_uint32)]


class _Param(ctypes.Structure):    # struct ckv_method_param
    _fields_ = [(name, ctypes.c_char_p)
                for name in ("name", "expected", "default", "help")]


def _open():
    name = os.environ.get("CKV_LIBRARY") or "libckv.so.0"
    try:
        lib = ctypes.CDLL(name)
        lib.ckv_method_check.argtypes = [ctypes.c_char_p] * 3
        lib.ckv_method_get.argtypes = [ctypes.c_uint32, ctypes.POINTER(_Entry)]
        lib.ckv_method_get_param.argtypes = [
            ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(_Param)]
    except (OSError, AttributeError) as error:
        raise ImportError(f"ckv needs its C library: {error}. Install ckv, or set "
                          "CKV_LIBRARY to the path of libckv.so") from error
    return lib


_lib = _open()


def method(text):
    """The canonical text of a method: equal methods, equal texts.

    ValueError says what is wrong with it and what was expected.
    """
    if "\0" in text:
        raise ValueError("the method holds a zero byte")
    canonical = ctypes.create_string_buffer(_TEXT_BYTES)
    reason = ctypes.create_string_buffer(_REASON_BYTES)
    if _lib.ckv_method_check(text.encode(), canonical, reason) < 0:
        raise ValueError(reason.value.decode())
    return canonical.value.decode()


def _words(row, names):
    return {name: None if getattr(row, name) is None else getattr(row, name).decode()
            for name in names}


def _params(i, n):
    param = _Param()
    for k in range(n):
        _lib.ckv_method_get_param(i, k, param)
        yield _words(param, ("name", "default", "expected", "help"))


def methods():
    """Every method with its parameters: the list that `ckv methods --json` prints.

    A parameter whose default is None has none: one of those is given.
    """
    entry, found = _Entry(), []
    while _lib.ckv_method_get(len(found), entry) == 0:
        row = _words(entry, ("name", "stage", "help", "needs", "paper"))
        row["parameters"] = list(_params(len(found), entry.n_params))
        found.append(row)
    return found
