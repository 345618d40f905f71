# The life of an export's Fsal.

cdef class Upcalls:
    """Tells Ganesha of changes that were made beside it. Set as ``Fsal.upcalls`` before ``Fsal.ready()``."""
    cdef pyg_export *x

    def invalidate(self, uint64_t inode, uint64_t generation):
        """Ganesha forgets what it has cached of the inode: attributes, and a directory's entries.

        From any thread of one's own, 0.1 to 0.2 ms; it waits until the export is up. Not from inside an Fsal method called
        by Ganesha (RuntimeError): that holds the locks this needs. True: the inode was cached. Once the export is closing,
        which means before ``Fsal.close()`` is called, nothing is cached any more.
        """
        cdef int status
        if pyg_in_operation():
            raise RuntimeError("an up-call from inside an operation would wait for the operation's own locks")
        if self.x == NULL:
            return False
        with nogil:
            status = pyg_invalidate(self.x, inode, generation)
        return status == ERR_FSAL_NO_ERROR


    def orphaned(self, uint64_t inode):
        """Tells that an inode has no name any more, learnt beside NFS: left over by an earlier run, say.

        True: a client has it open, and ``Fsal.released`` is called at its last close. False: nobody has. Once the export is
        closing the answer is True: who asks then leaves the inode to the next run.
        """
        return self.x == NULL or bool(pyg_export_mark_orphan(self.x, inode))


    def usage(self):
        """What clients have moved through the export since it was made: reads, bytes read, writes, bytes written."""
        if self.x == NULL:
            return None
        return (self.x.usage.reads, self.x.usage.read_bytes, self.x.usage.writes, self.x.usage.written_bytes)


cdef object _make_fs(pyg_export *x):
    """Imports the factory and calls it with the options."""
    factory = x.factory.decode()
    module_name, colon, attribute = factory.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f'Factory = "{factory}" is not of the form module:callable')
    create = importlib.import_module(module_name)
    for part in attribute.split("."):
        create = getattr(create, part)
    fs = create(x.options.decode("utf-8", "surrogateescape"))
    if not isinstance(fs, Fsal):
        raise TypeError(f"{factory} returned {type(fs).__name__}, which is no {Fsal.__module__}.Fsal")
    return fs


cdef int _bind_io(pyg_export *x, object fs) except -1:
    """Takes the native core's functions from the capsule, which is kept."""
    cdef const pyganesha_io *io
    capsule = fs.io()
    if capsule is None:
        return 0
    io = <const pyganesha_io *>PyCapsule_GetPointer(capsule, PYGANESHA_IO_NAME)
    if io.abi != PYGANESHA_IO_ABI or io.size < sizeof(pyganesha_io):
        raise RuntimeError(f"the native core has ABI {io.abi}, {io.size} bytes; the shim {PYGANESHA_IO_ABI}, {sizeof(pyganesha_io)}")
    Py_INCREF(capsule)
    x.io_capsule = <PyObject *>capsule
    x.io = io
    return 0


cdef int _bind_gate(pyg_export *x, object fs) except -1:
    """Takes the gate before the native core, where there is one."""
    cdef const pyganesha_gate *gate
    capsule = fs.gate() if x.io != NULL else None
    if capsule is None:
        return 0
    gate = <const pyganesha_gate *>PyCapsule_GetPointer(capsule, PYGANESHA_GATE_NAME)
    if gate.abi != PYGANESHA_GATE_ABI or gate.size < sizeof(pyganesha_gate):
        raise RuntimeError(f"the gate has ABI {gate.abi}, {gate.size} bytes; the shim {PYGANESHA_GATE_ABI}, {sizeof(pyganesha_gate)}")
    Py_INCREF(capsule)
    x.gate_capsule = <PyObject *>capsule
    x.gate = gate
    return 0


cdef public int pyg_py_create_export(pyg_export *x) noexcept with gil:
    cdef Upcalls upcalls
    fs = None
    try:
        fs = _make_fs(x)
        major, minor = fs.fsid
        x.fsid_major = major
        x.fsid_minor = minor
        _bind_io(x, fs)
        _bind_gate(x, fs)
        x.reads_async = x.io == NULL and type(fs).read_async is not Fsal.read_async
        pyg_share(x, fs.calls_max)
        x.xattrs = bool(fs.has_xattrs)
        x.acls = bool(fs.has_acls)
        upcalls = Upcalls()
        upcalls.x = x
        fs.upcalls = upcalls
        Py_INCREF(fs)
        x.fs = <PyObject *>fs
        fs.ready()
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        log(0, "".join(traceback.format_exception(failure)))
        # The one line that tells whoever looks why the export is missing.
        reason = " ".join(str(failure).split()) or "no message"
        log(0, f"export {x.id}: {x.factory.decode()} failed: {type(failure).__name__}: {reason}")
        _forget(x, fs)
        return ERR_FSAL_BAD_INIT


cdef void _forget(pyg_export *x, object fs) noexcept:
    """Closes the file system, and only then lets go of its native core."""
    cdef PyObject *held = x.fs
    cdef PyObject *capsule = x.io_capsule
    cdef PyObject *gate = x.gate_capsule
    try:
        if fs is not None:
            if isinstance(fs.upcalls, Upcalls):
                # Before close(): an up-call takes a reference to Ganesha's export, whose last one is gone.
                (<Upcalls>fs.upcalls).x = NULL
            fs.close()
    except BaseException as failure:
        failed(x, "close", failure)
    x.io = NULL
    x.fs = NULL
    x.io_capsule = NULL
    x.gate = NULL
    x.gate_capsule = NULL
    Py_XDECREF(held)
    Py_XDECREF(capsule)
    Py_XDECREF(gate)


cdef public void pyg_py_close_export(pyg_export *x) noexcept with gil:
    if x.fs != NULL:
        _forget(x, <object>x.fs)


cdef public int pyg_py_root(pyg_export *x, pyganesha_attributes *out) noexcept with gil:
    try:
        fill(out, (<object>x.fs).root())
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "root", failure)


cdef public int pyg_py_statfs(pyg_export *x, uint64_t inode, pyg_fs_info *out) noexcept with gil:
    cdef pyg_fs_info info
    try:
        total_bytes, free_bytes, available_bytes, total_files, free_files = (<object>x.fs).statfs(inode)
        info.total_bytes = total_bytes
        info.free_bytes = free_bytes
        info.available_bytes = available_bytes
        info.total_files = total_files
        info.free_files = free_files
        out[0] = info
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "statfs", failure)
