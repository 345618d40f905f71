# Values and failures: Python's to C's, and back.

cdef void _install_errno_table() except *:
    cdef int table[256]
    cdef list statuses = _errors.errno_table(256)
    for number in range(256):
        table[number] = statuses[number]
    pyg_set_errno_table(table, 256)


def log(int level, text):
    """Writes to Ganesha's log: 0 critical, 1 warning, 2 event, 3 debug."""
    for line in str(text).splitlines():
        encoded = line.encode("utf-8", "replace")
        pyg_log(level, encoded)


cdef int failed(pyg_export *x, str operation, object failure) noexcept:
    """The status of an exception. One that a file system should not raise is logged with its traceback."""
    try:
        status, expected = status_of(failure)
        if not expected:
            log(0, f"export {x.id}: {operation} raised an unexpected exception")
            log(0, "".join(traceback.format_exception(failure)))
        return status
    except BaseException:
        pyg_log(0, b"an exception could not be logged")
        return ERR_FSAL_SERVERFAULT


cdef int fill(pyganesha_attributes *out, object attributes) except -1:
    """A tuple in the order of types.Attributes."""
    cdef tuple t = <tuple?>tuple(attributes) if type(attributes) is not tuple else <tuple>attributes
    cdef pyganesha_attributes a
    if len(t) != 16:
        raise TypeError(f"attributes have 16 fields, not {len(t)}")
    memset(&a, 0, sizeof(a))
    a.inode = t[0]
    a.generation = t[1]
    a.kind = t[2]
    a.mode = t[3]
    a.nlink = t[4]
    a.uid = t[5]
    a.gid = t[6]
    a.rdev_major = t[7]
    a.rdev_minor = t[8]
    a.size = t[9]
    a.space_used = t[10]
    a.atime_ns = t[11]
    a.mtime_ns = t[12]
    a.ctime_ns = t[13]
    a.btime_ns = t[14]
    a.change = t[15]
    out[0] = a
    return 0


cdef object set_attributes_of(object fs, const pyg_set_attributes *given):
    cdef uint32_t mask = given.mask
    result = SetAttributes()
    if mask & PYG_SET_MODE:
        result.mode = given.mode
    if mask & PYG_SET_UID:
        result.uid = given.uid
    if mask & PYG_SET_GID:
        result.gid = given.gid
    if mask & PYG_SET_SIZE:
        result.size = given.size
    if mask & (PYG_SET_ATIME_NOW | PYG_SET_MTIME_NOW):
        now_ns = fs.now_ns()
        if mask & PYG_SET_ATIME_NOW:
            result.atime_ns = now_ns
        if mask & PYG_SET_MTIME_NOW:
            result.mtime_ns = now_ns
    if mask & PYG_SET_ATIME:
        result.atime_ns = given.atime_ns
    if mask & PYG_SET_MTIME:
        result.mtime_ns = given.mtime_ns
    if mask & PYG_SET_ACL:
        result.acl = <bytes>given.acl[:given.acl_length]
    return result


cdef object caller_of(const pyg_caller *given):
    cdef list groups = []
    cdef uint32_t i
    for i in range(given.ngroups):
        groups.append(given.groups[i])
    return Caller(given.uid, given.gid, tuple(groups))
