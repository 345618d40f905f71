# What Cython sees of the C side: native.h without any struct of Ganesha's.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from cpython.ref cimport PyObject

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint cbool "bool"

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "pyganesha_io.h" nogil:
    const char *PYGANESHA_IO_NAME
    uint32_t PYGANESHA_IO_ABI
    struct pyganesha_attributes:
        uint64_t inode, generation, size, space_used, change
        int64_t atime_ns, mtime_ns, ctime_ns, btime_ns
        uint32_t kind, mode, nlink, uid, gid, rdev_major, rdev_minor
    struct pyganesha_io:
        uint32_t abi
        uint32_t size

cdef extern from "pyganesha_gate.h" nogil:
    const char *PYGANESHA_GATE_NAME
    uint32_t PYGANESHA_GATE_ABI
    struct pyganesha_gate:
        uint32_t abi
        uint32_t size

cdef extern from "native.h" nogil:
    const char *PYGANESHA_PACKAGE
    int PYG_SET_MODE, PYG_SET_UID, PYG_SET_GID, PYG_SET_SIZE
    int PYG_SET_ATIME, PYG_SET_MTIME, PYG_SET_ATIME_NOW, PYG_SET_MTIME_NOW, PYG_SET_ACL
    int ERR_FSAL_NO_ERROR, ERR_FSAL_SERVERFAULT, ERR_FSAL_BAD_INIT
    struct pyg_usage:
        uint64_t reads, read_bytes, writes, written_bytes
    struct pyg_export:
        char *factory
        char *options
        uint16_t id
        uint64_t fsid_major
        uint64_t fsid_minor
        PyObject *fs
        PyObject *io_capsule
        const pyganesha_io *io
        PyObject *gate_capsule
        const pyganesha_gate *gate
        cbool reads_async
        cbool xattrs
        cbool acls
        pyg_usage usage
    struct pyg_set_attributes:
        uint32_t mask, mode, uid, gid
        uint64_t size
        int64_t atime_ns, mtime_ns
        size_t acl_length
        char *acl
    struct pyg_caller:
        uint32_t uid, gid, ngroups
        const uint32_t *groups
    struct pyg_fs_info:
        uint64_t total_bytes, free_bytes, available_bytes, total_files, free_files
    struct pyg_dirent:
        const char *name
        uint64_t cookie
        pyganesha_attributes attributes
    struct pyg_xattr_page:
        char **names
        uint32_t *lengths
        uint32_t count
        cbool eof
        uint64_t cookie
    struct pyg_io_call:
        pass
    void pyg_log(int level, const char *text)
    void pyg_set_errno_table(const int *table, size_t length)
    void pyg_io_complete(pyg_io_call *call, int status, size_t amount, cbool flag)
    int pyg_invalidate(pyg_export *x, uint64_t inode, uint64_t generation)
    cbool pyg_in_operation()
    void pyg_share(pyg_export *x, unsigned int calls_max)
    cbool pyg_export_mark_orphan(pyg_export *x, uint64_t inode)
    void *gsh_malloc(size_t size)
