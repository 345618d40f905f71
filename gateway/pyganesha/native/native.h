/* What the parts of the shim know of each other.
 *
 * C files deal with Ganesha's structs and hold no Python object but the export's; Cython files (*.pxi) deal with Python and
 * see only the plain structs below. Between them: functions pyg_py_*, which take Python's lock themselves, return a status of
 * fsal_errors_t, never raise, and write their outputs only on success.
 */
#ifndef PYGANESHA_NATIVE_H
#define PYGANESHA_NATIVE_H

#include <Python.h>

#include "config.h"
#include "fsal.h"
#include "fsal_convert.h"
#include "FSAL/fsal_init.h"
#include "FSAL/fsal_commonlib.h"
#include "FSAL/fsal_config.h"
#include "config_parsing.h"
#include "export_mgr.h"
#include "nfs_core.h"
#include "nfs_exports.h"
#include "sal_data.h"

#include <semaphore.h>

#include "pyganesha_gate.h"
#include "pyganesha_io.h"

/* --- Objects ------------------------------------------------------------------------------------------------- */

/* What a handle names. */
struct pyg_key {
	uint64_t fsid;
	uint64_t inode;
	uint64_t generation;
};

/* A handle on the wire: version byte, then the key in little-endian. It also is MDCACHE's key and Ganesha's "host handle":
 * for a parent's handle MDCACHE calls handle_to_wire and then create_handle, with nothing between. */
#define PYG_WIRE_VERSION 1
#define PYG_WIRE_BYTES 25

struct pyg_object {
	struct fsal_obj_handle handle;
	struct pyg_key key;
	uint8_t wire[PYG_WIRE_BYTES];
	int32_t global_opens; /* stateless opens that Ganesha counts in open_fd_count and has not closed yet; atomic */
};

#define PYG_OPEN_BUCKETS 256

struct pyg_open_bucket {
	pthread_mutex_t lock;
	struct pyg_open *first;
};

/* Every inode that a client has open, by inode: thin handles of one file may come and go, this stays. */
struct pyg_open_table {
	struct pyg_open_bucket buckets[PYG_OPEN_BUCKETS];
	int32_t denials; /* opens that deny something to others; atomic. 0 spares I/O without a state the look-up */
	int32_t inodes; /* entries; atomic */
};

/* What clients have moved through an export since it was made; atomic. */
struct pyg_usage {
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t writes;
	uint64_t written_bytes;
};

struct pyg_export {
	struct fsal_export export;
	char *factory; /* "module:callable" */
	char *options;
	uint16_t id;
	uint64_t fsid_major;
	uint64_t fsid_minor;
	PyObject *fs;
	PyObject *io_capsule;
	const struct pyganesha_io *io; /* NULL: Python serves the data */
	PyObject *gate_capsule;
	const struct pyganesha_gate *gate; /* NULL: nothing is limited */
	bool reads_async; /* Fsal.read_async is overridden */
	bool xattrs; /* Fsal.has_xattrs */
	bool acls; /* Fsal.has_acls */
	struct pyg_usage usage;
	struct pyg_shared *shared; /* from the time its Fsal is known */
};

/* What all exports of one file system have in common; by fsid_major. */
struct pyg_shared {
	struct pyg_shared *next;
	uint64_t fsid_major;
	unsigned int exports;
	bool is_gated; /* Fsal.calls_max is set: `gate` counts the calls that may still enter */
	sem_t gate;
	struct pyg_open_table opens;
};

struct pyg_module {
	struct fsal_module fsal;
	struct fsal_obj_ops ops;
	char *python; /* executable of the virtual environment */
	char *path; /* directories to put before sys.path, or NULL */
};

extern struct pyg_module pyg_module;
extern struct config_block pyg_export_block;

/* --- Values that cross ----------------------------------------------------------------------------------------- */

enum {
	PYG_SET_MODE = 1,
	PYG_SET_UID = 2,
	PYG_SET_GID = 4,
	PYG_SET_SIZE = 8,
	PYG_SET_ATIME = 16,
	PYG_SET_MTIME = 32,
	PYG_SET_ATIME_NOW = 64,
	PYG_SET_MTIME_NOW = 128,
	PYG_SET_ACL = 256,
};

/* In the mode of attributes, above all bits of clients: the inode has a list of its own. */
#define PYG_MODE_ACL 0x10000

/* A list of 400 entries as Python takes it (docs/formats/acl.md). */
#define PYG_ACL_BYTES_MAX (4 + 400 * 12)

struct pyg_set_attributes {
	uint32_t mask;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint64_t size;
	int64_t atime_ns;
	int64_t mtime_ns;
	size_t acl_length; /* bytes; 0 with PYG_SET_ACL: one that Python refuses */
	char acl[PYG_ACL_BYTES_MAX];
};

struct pyg_caller {
	uint32_t uid;
	uint32_t gid;
	uint32_t ngroups;
	const uint32_t *groups;
};

struct pyg_fs_info {
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint64_t available_bytes;
	uint64_t total_files;
	uint64_t free_files;
};

/* `name` belongs to the reader that filled the entry, and lives until its next batch. */
struct pyg_dirent {
	const char *name;
	uint64_t cookie;
	struct pyganesha_attributes attributes;
};

/* gsh_malloc'ed: both arrays, and each name. */
struct pyg_xattr_page {
	char **names;
	uint32_t *lengths;
	uint32_t count;
	bool eof;
	uint64_t cookie; /* to go on after */
};

enum pyg_create_mode { PYG_UNCHECKED = 1, PYG_GUARDED = 2, PYG_EXCLUSIVE = 3 };

/* A core that evicts an inode right after Fsal.load made it resident; after that the client tries again. */
#define PYG_LOAD_ATTEMPTS 4

/* One read or write on its way: made by io.c, completed once. */
struct pyg_io_call;

/* --- start.c, module.c, thread.c --------------------------------------------------------------------------------- */

int pyg_start_python(void); /* 0, or -1 after logging why */
bool pyg_python_runs(void);
void pyg_share(struct pyg_export *x, unsigned int calls_max); /* before the first call; calls_max 0: no gate */
void pyg_unshare(struct pyg_export *x);
void pyg_tell_caller(const struct pyganesha_io *io); /* whose operation this thread does next */
void pyg_enter(struct pyg_export *x); /* before a call of pyg_py_*, and after it: */
int pyg_leave(struct pyg_export *x, int status); /* the status, or that of making it durable */
void pyg_thread_enter(void); /* gives this thread a Python thread state that lasts; cheap after the first time */
void pyg_thread_keep(void); /* this thread has one already */
void pyg_thread_init(void);


/* 0 critical, 1 warning, 2 event, 3 debug */
void pyg_log(int level, const char *text);

/* --- object.c, ops.c, open.c, io.c, export.c ---------------------------------------------------------------------- */

struct pyg_export *pyg_current_export(void);
struct pyg_object *pyg_object_of(struct fsal_obj_handle *handle);
struct fsal_obj_handle *pyg_object_new(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out);
/* Without a list; with one where there are any. The list holds a reference: fsal_release_attrs. */
void pyg_fill_plain(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out);
void pyg_fill_attributes(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out);
void pyg_key_to_wire(const struct pyg_key *key, uint8_t wire[PYG_WIRE_BYTES]);
bool pyg_key_from_wire(const struct gsh_buffdesc *wire, struct pyg_key *key); /* false: nothing that we ever made */
object_file_type_t pyg_type_of(uint32_t kind);
uint32_t pyg_kind_of(object_file_type_t type);
void pyg_fill_set(const struct fsal_attrlist *in, struct pyg_set_attributes *out);
void pyg_fill_caller(struct pyg_caller *out);
fsal_status_t pyg_get_attributes(struct pyg_export *x, const struct pyg_key *key, struct pyganesha_attributes *out);
void pyg_object_ops(struct fsal_obj_ops *ops); /* names and attributes */
void pyg_directory_ops(struct fsal_obj_ops *ops);
void pyg_xattr_ops(struct fsal_obj_ops *ops);
extern uint32_t pyg_xattr_value_max; /* bytes of a value that Ganesha can send */
void pyg_allow_large_xattrs(void);
attrmask_t pyg_supported_attributes(const struct pyg_export *x);
void pyg_open_ops(struct fsal_obj_ops *ops); /* opens and share reservations */
void pyg_io_ops(struct fsal_obj_ops *ops); /* data */
void pyg_sparse_ops(struct fsal_obj_ops *ops); /* holes and advice */
fsal_status_t pyg_create_export(struct fsal_module *module, void *parse_node, struct config_error_type *errors,
				const struct fsal_up_vector *up_ops);

static inline fsal_status_t pyg_status(int major)
{
	return fsalstat(major, 0);
}
void pyg_set_errno_table(const int *table, size_t length);
fsal_status_t pyg_status_of_errno(int error); /* of a positive errno */

/* shared.c, open_table.c */
void pyg_opens_init(struct pyg_open_table *t);
void pyg_opens_fini(struct pyg_open_table *t);
fsal_status_t pyg_opens_change(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t from, fsal_openflags_t to);
fsal_status_t pyg_opens_check(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t wanted, bool bypass);
bool pyg_opens_release(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t flags); /* true: last open of an orphan */
bool pyg_opens_is_open(struct pyg_open_table *t, uint64_t inode);
bool pyg_opens_mark_orphan(struct pyg_open_table *t, uint64_t inode); /* false: nobody has it open (any more) */
struct fsal_fd *pyg_fd_of(struct state_t *state);
fsal_status_t pyg_may_access(struct pyg_export *x, struct pyg_object *o, struct state_t *state, fsal_openflags_t wanted, bool bypass);

/* access.c: what the caller of this operation may do. Root, and what Ganesha does by itself, may everything. */
fsal_status_t pyg_may_enter(struct pyg_export *x, const struct pyg_object *directory, object_file_type_t made);
fsal_status_t pyg_may_remove(struct pyg_export *x, const struct pyg_object *directory, const struct pyg_key *victim);
fsal_status_t pyg_may_move(struct pyg_export *x, const struct pyg_object *moved);
fsal_status_t pyg_may_write(struct pyg_export *x, const struct pyganesha_attributes *a);
fsal_status_t pyg_may_use_xattrs(struct pyg_export *x, const struct pyg_object *o, uint32_t wanted); /* 4 read, 2 write */
fsal_status_t pyg_may_make(object_file_type_t type, const struct pyg_set_attributes *set);
fsal_status_t pyg_may_set_times(struct pyg_export *x, const struct pyg_object *o, const struct pyg_set_attributes *set);
fsal_status_t pyg_drop_set_id(struct pyg_export *x, const struct pyg_object *o, struct pyg_set_attributes *set);

bool pyg_caller_in_group(uint32_t gid);

/* acl.c */
fsal_status_t pyg_acl_of(struct pyg_export *x, const struct pyganesha_attributes *a, fsal_acl_t **out);
fsal_status_t pyg_fill_acl(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out);
fsal_acl_t *pyg_acl_of_nobody(void);
size_t pyg_acl_to_bytes(const fsal_acl_t *acl, char out[PYG_ACL_BYTES_MAX]);
bool pyg_acl_allows(const fsal_acl_t *acl, const struct pyganesha_attributes *a, uint32_t wanted);

/* io.c, for the asynchronous Python reads */
void pyg_io_complete(struct pyg_io_call *call, int status, size_t amount, bool flag);
int pyg_invalidate(struct pyg_export *x, uint64_t inode, uint64_t generation);
bool pyg_in_operation(void);
bool pyg_export_mark_orphan(struct pyg_export *x, uint64_t inode); /* for Python's side, which does not know the table */

/* --- Python's side (*.pxi) ------------------------------------------------------------------------------------------ */

PyMODINIT_FUNC PyInit__pyganesha_native(void);

#endif
