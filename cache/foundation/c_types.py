"""What system calls take of `ctypes`, made of its C part: that module makes fifty classes as it is loaded, 3 % of a
small command.
"""

from __future__ import annotations

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from ctypes import CDLL as CDLL
    from ctypes import PyDLL as PyDLL
    from ctypes import Structure as Structure
    from ctypes import _NamedFuncPointer as _NamedFuncPointer
    from ctypes import addressof as addressof
    from ctypes import c_char_p as c_char_p
    from ctypes import c_int as c_int
    from ctypes import c_long as c_long
    from ctypes import c_size_t as c_size_t
    from ctypes import c_ssize_t as c_ssize_t
    from ctypes import c_uint as c_uint
    from ctypes import c_ulong as c_ulong
    from ctypes import c_void_p as c_void_p
    from ctypes import create_string_buffer as create_string_buffer
    from ctypes import get_errno as get_errno
    from ctypes import memmove as memmove
else:
    from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_PYTHONAPI, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen
    from _ctypes import Structure as Structure
    from _ctypes import addressof as addressof
    from _ctypes import get_errno as get_errno

    class c_int(_SimpleCData):
        _type_ = "i"

    class c_uint(_SimpleCData):
        _type_ = "I"

    class c_long(_SimpleCData):
        _type_ = "l"

    class c_ulong(_SimpleCData):
        _type_ = "L"

    class _c_char(_SimpleCData):
        _type_ = "c"

    class c_char_p(_SimpleCData):
        _type_ = "z"

    class c_void_p(_SimpleCData):
        _type_ = "P"

    c_ssize_t, c_size_t = c_long, c_ulong  # on every Linux

    class _Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class _PythonFunction(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
        _restype_ = c_int

    class CDLL:
        """The functions of a library, by name; each keeps errno for `get_errno`."""

        _function = _Function

        def __init__(self, name: str | None, *, use_errno: bool) -> None:
            self._handle = dlopen(name, 0)

        def __getattr__(self, name: str) -> CFuncPtr:
            self.__dict__[name] = found = self[name]
            return found

        def __getitem__(self, name: str) -> CFuncPtr:
            """Return it as one of its own, whose types nobody else sees."""
            return self._function((name, self))

    class PyDLL(CDLL):
        """The same, called with the interpreter's lock."""

        _function = _PythonFunction

    def create_string_buffer(content: bytes | int, size_bytes: int | None = None) -> object:
        """Return memory of that many bytes; with `content` a NUL ends it, unless `size_bytes` leaves no room."""
        if isinstance(content, int):
            return (_c_char * content)()
        buffer = (_c_char * (len(content) + 1 if size_bytes is None else size_bytes))()
        buffer.value = content
        return buffer

    memmove = CDLL(None, use_errno=True).memmove
    memmove.argtypes, memmove.restype = (c_void_p, c_void_p, c_size_t), c_void_p
