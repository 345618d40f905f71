# cython: language_level=3, boundscheck=False, wraparound=False, always_allow_keywords=False
# Python's side of the shim: what python_side.h declares, by family of operations.
from libc.string cimport memcpy, memset
from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF

from shim cimport *

import importlib
import sys
import traceback

cdef extern from "python_side.h":
    """
    /* The prototypes are python_side.h's: a definition below that differs from its declaration does not compile. */
    """

_package = PYGANESHA_PACKAGE.decode()
_types = importlib.import_module(_package + ".types")
_errors = importlib.import_module(_package + ".errors")
_fsal = importlib.import_module(_package + ".fsal")

cdef object SetAttributes = _types.SetAttributes
cdef object Caller = _types.Caller
cdef object status_of = _errors.status_of
cdef object Fsal = _fsal.Fsal
_xattrs = importlib.import_module(_package + ".xattrs")
cdef object xattr_page = _xattrs.xattr_page
cdef tuple XATTR_MODES = (_types.XattrMode.EITHER, _types.XattrMode.CREATE, _types.XattrMode.REPLACE)
cdef tuple CREATE_MODES = (None, _types.CreateMode.UNCHECKED, _types.CreateMode.GUARDED, _types.CreateMode.EXCLUSIVE)

include "convert.pxi"
include "names.pxi"
include "directory.pxi"
include "xattr.pxi"
include "data.pxi"
include "export.pxi"

_install_errno_table()
# A thread that wants the lock gets it after 50 us, not after 5 ms: Ganesha's workers wait for it with a client behind them.
sys.setswitchinterval(5e-5)
