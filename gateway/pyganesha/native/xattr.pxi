# Extended attributes.

cdef public int pyg_py_getxattr(pyg_export *x, uint64_t inode, const char *name, size_t name_length, char **value,
                                size_t *length) noexcept with gil:
    cdef bytes content
    cdef char *copy
    try:
        content = <bytes?>(<object>x.fs).getxattr(inode, name[:name_length])
        copy = <char *>gsh_malloc(len(content) + 1)
        memcpy(copy, <const char *>content, len(content) + 1)
        value[0] = copy
        length[0] = len(content)
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "getxattr", failure)


cdef public int pyg_py_setxattr(pyg_export *x, uint64_t inode, const char *name, size_t name_length, const char *value,
                                size_t length, int how) noexcept with gil:
    try:
        (<object>x.fs).setxattr(inode, name[:name_length], value[:length], XATTR_MODES[how])
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "setxattr", failure)


cdef public int pyg_py_removexattr(pyg_export *x, uint64_t inode, const char *name, size_t name_length) noexcept with gil:
    try:
        (<object>x.fs).removexattr(inode, name[:name_length])
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "removexattr", failure)


cdef public int pyg_py_listxattr(pyg_export *x, uint64_t inode, uint64_t cookie, size_t room, size_t most,
                                 pyg_xattr_page *out) noexcept with gil:
    cdef pyg_xattr_page page
    cdef bytes name
    cdef size_t i = 0
    try:
        found, last, ended = xattr_page((<object>x.fs).listxattr(inode), cookie, room, most)
        page.count = len(found)
        page.cookie = last
        page.eof = ended
        page.names = <char **>gsh_malloc((len(found) + 1) * sizeof(char *))
        page.lengths = <uint32_t *>gsh_malloc((len(found) + 1) * sizeof(uint32_t))
        for name in found:
            page.lengths[i] = len(name)
            page.names[i] = <char *>gsh_malloc(len(name) + 1)
            memcpy(page.names[i], <const char *>name, len(name) + 1)
            i += 1
        out[0] = page
        return ERR_FSAL_NO_ERROR
    except BaseException as failure:
        return failed(x, "listxattr", failure)
