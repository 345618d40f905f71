# Reading a directory in batches.

cdef class _Reader:
    """The iterator of Fsal.readdir, and the names of the batch that C has in hand."""
    cdef pyg_export *x
    cdef object iterator
    cdef list names


cdef public int pyg_py_readdir_open(pyg_export *x, uint64_t directory, uint64_t after, void **reader) noexcept with gil:
    cdef _Reader r
    try:
        r = _Reader()
        r.x = x
        r.iterator = iter((<object>x.fs).readdir(directory, after))
        Py_INCREF(r)
        reader[0] = <void *>r
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "readdir", failure)


cdef public int pyg_py_readdir_next(void *reader, pyg_dirent *entries, size_t capacity, size_t *count, cbool *ended) noexcept with gil:
    cdef _Reader r = <_Reader>reader
    cdef size_t n = 0
    cdef bytes text
    try:
        r.names = []
        while n < capacity:
            try:
                name, cookie, attributes = next(r.iterator)
            except StopIteration:
                break
            text = <bytes?>name
            if cookie < 3:
                raise ValueError(f"cookie {cookie} of {text!r}: cookies below 3 mean something else")
            fill(&entries[n].attributes, attributes)
            entries[n].cookie = cookie
            entries[n].name = text
            r.names.append(text)
            n += 1
        count[0] = n
        ended[0] = n < capacity
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(r.x, "readdir", failure)


cdef public void pyg_py_readdir_close(void *reader) noexcept with gil:
    cdef _Reader r = <_Reader>reader
    try:
        close = getattr(r.iterator, "close", None)
        if close is not None:
            close()
    except BaseException as failure:
        failed(r.x, "readdir", failure)
    Py_DECREF(r)
