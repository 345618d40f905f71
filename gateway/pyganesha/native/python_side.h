/* Functions that Cython defines (the *.pxi files): they take Python's lock themselves and call the export's Fsal.
 *
 * All return a status of fsal_errors_t, never raise, and write outputs only on success. They are called through PYG_CALL, which
 * ends when what they changed is durable; but for the making and closing of exports, which are nobody's request.
 */
#ifndef PYGANESHA_PYTHON_SIDE_H
#define PYGANESHA_PYTHON_SIDE_H

#include "native.h"

#define PYG_CALL(x, call)                    \
	({                                   \
		struct pyg_export *x_ = (x); \
		pyg_enter(x_);               \
		pyg_leave(x_, (call));       \
	})

int pyg_py_create_export(struct pyg_export *x);
void pyg_py_close_export(struct pyg_export *x);
int pyg_py_root(struct pyg_export *x, struct pyganesha_attributes *out);
int pyg_py_statfs(struct pyg_export *x, uint64_t inode, struct pyg_fs_info *out);

int pyg_py_getattr(struct pyg_export *x, uint64_t inode, uint64_t generation, struct pyganesha_attributes *out);
int pyg_py_setattr(struct pyg_export *x, uint64_t inode, const struct pyg_set_attributes *set, const struct pyg_caller *caller);
int pyg_py_getacl(struct pyg_export *x, uint64_t inode, char **content, size_t *length); /* gsh_malloc'ed */
int pyg_py_lookup(struct pyg_export *x, uint64_t directory, const char *name, struct pyganesha_attributes *out);
int pyg_py_create(struct pyg_export *x, uint64_t directory, const char *name, int how, const struct pyg_set_attributes *set,
		  const struct pyg_caller *caller, struct pyganesha_attributes *out, bool *created);
int pyg_py_mkdir(struct pyg_export *x, uint64_t directory, const char *name, const struct pyg_set_attributes *set,
		 const struct pyg_caller *caller, struct pyganesha_attributes *out);
int pyg_py_symlink(struct pyg_export *x, uint64_t directory, const char *name, const char *target,
		   const struct pyg_set_attributes *set, const struct pyg_caller *caller, struct pyganesha_attributes *out);
int pyg_py_mknod(struct pyg_export *x, uint64_t directory, const char *name, uint32_t kind, uint32_t major, uint32_t minor,
		 const struct pyg_set_attributes *set, const struct pyg_caller *caller, struct pyganesha_attributes *out);
int pyg_py_readlink(struct pyg_export *x, uint64_t inode, char **target, size_t *length); /* gsh_malloc'ed, NUL-terminated */
int pyg_py_link(struct pyg_export *x, uint64_t inode, uint64_t directory, const char *name);
int pyg_py_rename(struct pyg_export *x, uint64_t old_directory, const char *old_name, uint64_t new_directory,
		  const char *new_name, bool victim_open);
int pyg_py_unlink(struct pyg_export *x, uint64_t directory, const char *name, bool victim_open);
int pyg_py_released(struct pyg_export *x, uint64_t inode);

/* Names and values of any bytes; the value, gsh_malloc'ed, and the page's names are the caller's. */
int pyg_py_getxattr(struct pyg_export *x, uint64_t inode, const char *name, size_t name_length, char **value, size_t *length);
int pyg_py_setxattr(struct pyg_export *x, uint64_t inode, const char *name, size_t name_length, const char *value, size_t length,
		    int how);
int pyg_py_removexattr(struct pyg_export *x, uint64_t inode, const char *name, size_t name_length);
int pyg_py_listxattr(struct pyg_export *x, uint64_t inode, uint64_t cookie, size_t room, size_t most, struct pyg_xattr_page *out);

/* A directory being read; `next` fills at most `capacity` entries and tells whether the directory has ended. */
int pyg_py_readdir_open(struct pyg_export *x, uint64_t directory, uint64_t after, void **reader);
int pyg_py_readdir_next(void *reader, struct pyg_dirent *entries, size_t capacity, size_t *count, bool *ended);
void pyg_py_readdir_close(void *reader);

int pyg_py_load(struct pyg_export *x, uint64_t inode, uint64_t generation);
int pyg_py_read(struct pyg_export *x, uint64_t inode, uint64_t offset, const struct iovec *iov, int iovcnt, size_t *amount, bool *eof);
int pyg_py_read_async(struct pyg_export *x, uint64_t inode, uint64_t offset, const struct iovec *iov, struct pyg_io_call *call);
int pyg_py_write(struct pyg_export *x, uint64_t inode, uint64_t offset, const struct iovec *iov, int iovcnt, bool stable,
		 const struct pyg_caller *caller, size_t *amount, bool *is_stable);
/* *found is the size and *eof true where nothing of it lies before the end of the file. */
int pyg_py_seek(struct pyg_export *x, uint64_t inode, uint64_t offset, bool hole, uint64_t *found, bool *eof);
int pyg_py_allocate(struct pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length, const struct pyg_caller *caller);
int pyg_py_deallocate(struct pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length, const struct pyg_caller *caller);
int pyg_py_commit(struct pyg_export *x, uint64_t inode, uint64_t offset, uint64_t length);

#endif
