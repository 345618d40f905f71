# Operations on names and attributes.

cdef public int pyg_py_getattr(pyg_export *x, uint64_t inode, uint64_t generation, pyganesha_attributes *out) noexcept with gil:
    try:
        fill(out, (<object>x.fs).getattr(inode, generation))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "getattr", failure)


cdef public int pyg_py_setattr(pyg_export *x, uint64_t inode, const pyg_set_attributes *given,
                               const pyg_caller *caller) noexcept with gil:
    try:
        fs = <object>x.fs
        fs.setattr(inode, set_attributes_of(fs, given), caller_of(caller))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "setattr", failure)


cdef public int pyg_py_getacl(pyg_export *x, uint64_t inode, char **content, size_t *length) noexcept with gil:
    cdef bytes acl
    cdef char *copy
    try:
        acl = <bytes?>(<object>x.fs).getacl(inode)
        copy = <char *>gsh_malloc(len(acl) + 1)
        memcpy(copy, <const char *>acl, len(acl) + 1)
        content[0] = copy
        length[0] = len(acl)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "getacl", failure)


cdef public int pyg_py_lookup(pyg_export *x, uint64_t directory, const char *name, pyganesha_attributes *out) noexcept with gil:
    try:
        fill(out, (<object>x.fs).lookup(directory, <bytes>name))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "lookup", failure)


cdef public int pyg_py_create(pyg_export *x, uint64_t directory, const char *name, int how, const pyg_set_attributes *given,
                              const pyg_caller *caller, pyganesha_attributes *out, cbool *created) noexcept with gil:
    try:
        fs = <object>x.fs
        attributes, is_new = fs.create(directory, <bytes>name, CREATE_MODES[how], set_attributes_of(fs, given), caller_of(caller))
        fill(out, attributes)
        created[0] = is_new
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "create", failure)


cdef public int pyg_py_mkdir(pyg_export *x, uint64_t directory, const char *name, const pyg_set_attributes *given,
                             const pyg_caller *caller, pyganesha_attributes *out) noexcept with gil:
    try:
        fs = <object>x.fs
        fill(out, fs.mkdir(directory, <bytes>name, set_attributes_of(fs, given), caller_of(caller)))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "mkdir", failure)


cdef public int pyg_py_symlink(pyg_export *x, uint64_t directory, const char *name, const char *target,
                               const pyg_set_attributes *given, const pyg_caller *caller,
                               pyganesha_attributes *out) noexcept with gil:
    try:
        fs = <object>x.fs
        fill(out, fs.symlink(directory, <bytes>name, <bytes>target, set_attributes_of(fs, given), caller_of(caller)))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "symlink", failure)


cdef public int pyg_py_mknod(pyg_export *x, uint64_t directory, const char *name, uint32_t kind, uint32_t major, uint32_t minor,
                             const pyg_set_attributes *given, const pyg_caller *caller,
                             pyganesha_attributes *out) noexcept with gil:
    try:
        fs = <object>x.fs
        fill(out, fs.mknod(directory, <bytes>name, kind, (major, minor), set_attributes_of(fs, given), caller_of(caller)))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "mknod", failure)


cdef public int pyg_py_readlink(pyg_export *x, uint64_t inode, char **target, size_t *length) noexcept with gil:
    cdef bytes text
    cdef char *copy
    try:
        text = <bytes?>(<object>x.fs).readlink(inode)
        copy = <char *>gsh_malloc(len(text) + 1)
        memcpy(copy, <const char *>text, len(text) + 1)
        target[0] = copy
        length[0] = len(text)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "readlink", failure)


cdef public int pyg_py_link(pyg_export *x, uint64_t inode, uint64_t directory, const char *name) noexcept with gil:
    try:
        (<object>x.fs).link(inode, directory, <bytes>name)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "link", failure)


cdef public int pyg_py_rename(pyg_export *x, uint64_t old_directory, const char *old_name, uint64_t new_directory,
                              const char *new_name, cbool victim_open) noexcept with gil:
    try:
        (<object>x.fs).rename(old_directory, <bytes>old_name, new_directory, <bytes>new_name, bool(victim_open))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "rename", failure)


cdef public int pyg_py_unlink(pyg_export *x, uint64_t directory, const char *name, cbool victim_open) noexcept with gil:
    try:
        (<object>x.fs).unlink(directory, <bytes>name, bool(victim_open))
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "unlink", failure)


cdef public int pyg_py_released(pyg_export *x, uint64_t inode) noexcept with gil:
    try:
        (<object>x.fs).released(inode)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "released", failure)
