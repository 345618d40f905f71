# Data served by Python methods, for a file system without a native core; and the request to make an inode resident in one.

cdef public int pyg_py_load(pyg_export *x, uint64_t inode, uint64_t generation) noexcept with gil:
    try:
        (<object>x.fs).load(inode, generation)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "load", failure)


cdef public int pyg_py_read(pyg_export *x, uint64_t inode, uint64_t offset, const iovec *iov, int iovcnt, size_t *amount,
                            cbool *eof) noexcept with gil:
    cdef size_t total = 0
    cdef size_t got
    cdef bint ended = False
    cdef int i
    try:
        for i in range(iovcnt):
            view = PyMemoryView_FromMemory(<char *>iov[i].iov_base, iov[i].iov_len, PyBUF_WRITE)
            try:
                count, ended = (<object>x.fs).read(inode, offset + total, view)
            finally:
                view.release()
            got = count
            if got > iov[i].iov_len:
                raise ValueError(f"read returned {got} bytes for a buffer of {iov[i].iov_len}")
            total += got
            if ended or got < iov[i].iov_len:
                break
        amount[0] = total
        eof[0] = ended
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "read", failure)


cdef class ReadRequest:
    """A read to be answered later, from any thread: fill ``buffer``, then call ``done`` or ``fail``, once.

    ``inode``, ``offset`` and ``length`` say what is wanted. A request that is dropped unanswered fails with EIO.
    """
    cdef pyg_export *x
    cdef pyg_io_call *call
    cdef object view
    cdef readonly uint64_t inode
    cdef readonly uint64_t offset
    cdef readonly size_t length

    @property
    def buffer(self):
        """Writable memoryview of ``length`` bytes; it is released when the request completes."""
        if self.call == NULL:
            raise RuntimeError("the request has been completed")
        return self.view

    def done(self, size_t amount, bint eof):
        """The first ``amount`` bytes of the buffer are the answer; ``eof``: the file ends there."""
        if amount > self.length:
            raise ValueError(f"{amount} bytes in a buffer of {self.length}")
        self._complete(ERR_FSAL_NO_ERROR, amount, eof)

    def fail(self, failure):
        """The read failed with this exception, which becomes a status as if it had been raised."""
        self._complete(failed(self.x, "read_async", failure), 0, False)

    cdef int _complete(self, int status, size_t amount, bint eof) except -1:
        cdef pyg_io_call *call = self.call
        if call == NULL:
            raise RuntimeError("the request has been completed")
        self.view.release()  # a BufferError leaves the request open
        self.call = NULL
        with nogil:
            pyg_io_complete(call, status, amount, eof)
        return 0

    def __dealloc__(self):
        cdef pyg_io_call *call = self.call
        cdef int status
        if call != NULL:
            self.call = NULL
            pyg_log(0, b"a ReadRequest was dropped without an answer")
            status = _errors.Status.IO
            with nogil:
                pyg_io_complete(call, status, 0, False)


cdef public int pyg_py_read_async(pyg_export *x, uint64_t inode, uint64_t offset, const iovec *iov, pyg_io_call *call) noexcept with gil:
    cdef ReadRequest request = None
    try:
        request = ReadRequest()
        request.x = x
        request.inode = inode
        request.offset = offset
        request.length = iov.iov_len
        request.view = PyMemoryView_FromMemory(<char *>iov.iov_base, iov.iov_len, PyBUF_WRITE)
        request.call = call
        (<object>x.fs).read_async(request)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        status = failed(x, "read_async", failure)
        if request is None or request.call == NULL:
            # Answered before it raised: the client has its reply, and the call is gone.
            return status if request is None else ERR_FSAL_NO_ERROR
        request.call = NULL
        return status


cdef public int pyg_py_write(pyg_export *x, uint64_t inode, uint64_t offset, const iovec *iov, int iovcnt, cbool stable,
                             const pyg_caller *caller, size_t *amount, cbool *is_stable) noexcept with gil:
    cdef size_t total = 0
    cdef bint all_stable = True
    cdef int i
    try:
        who = caller_of(caller)
        for i in range(iovcnt):
            view = PyMemoryView_FromMemory(<char *>iov[i].iov_base, iov[i].iov_len, PyBUF_READ)
            try:
                all_stable &= bool((<object>x.fs).write(inode, offset + total, view, bool(stable), who))
            finally:
                view.release()
            total += iov[i].iov_len
        if stable and not all_stable:
            raise RuntimeError("write must be stable where it is asked to be")
        amount[0] = total
        is_stable[0] = all_stable
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "write", failure)


cdef public int pyg_py_seek(pyg_export *x, uint64_t inode, uint64_t offset, cbool hole, uint64_t *found, cbool *eof) noexcept with gil:
    cdef uint64_t at
    try:
        where, ends = (<object>x.fs).seek(inode, offset, bool(hole))
        at = where
        if at < offset:
            raise ValueError(f"seek found {at}, before {offset}")
        found[0] = at
        eof[0] = ends
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "seek", failure)


cdef public int pyg_py_allocate(pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length,
                                const pyg_caller *caller) noexcept with gil:
    try:
        (<object>x.fs).allocate(inode, offset, length, caller_of(caller))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "allocate", failure)


cdef public int pyg_py_deallocate(pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length,
                                  const pyg_caller *caller) noexcept with gil:
    try:
        (<object>x.fs).deallocate(inode, offset, length, caller_of(caller))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "deallocate", failure)


cdef public int pyg_py_commit(pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length) noexcept with gil:
    try:
        (<object>x.fs).commit(inode, offset, length)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "commit", failure)
