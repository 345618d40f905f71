/* Handles and attributes: ours to Ganesha's, and back. */
#include "native.h"

#include <sys/stat.h>

#define NS_PER_S 1000000000

struct pyg_export *pyg_current_export(void)
{
	return container_of(op_ctx->fsal_export, struct pyg_export, export);
}

struct pyg_object *pyg_object_of(struct fsal_obj_handle *handle)
{
	return container_of(handle, struct pyg_object, handle);
}

bool pyg_in_operation(void)
{
	return op_ctx != NULL;
}

void pyg_key_to_wire(const struct pyg_key *key, uint8_t wire[PYG_WIRE_BYTES])
{
	const uint64_t words[3] = { htole64(key->fsid), htole64(key->inode), htole64(key->generation) };

	wire[0] = PYG_WIRE_VERSION;
	memcpy(wire + 1, words, sizeof(words));
}

bool pyg_key_from_wire(const struct gsh_buffdesc *wire, struct pyg_key *key)
{
	const uint8_t *bytes = wire->addr;
	uint64_t words[3];

	if (wire->len != PYG_WIRE_BYTES || bytes[0] != PYG_WIRE_VERSION)
		return false;
	memcpy(words, bytes + 1, sizeof(words));
	*key = (struct pyg_key){ le64toh(words[0]), le64toh(words[1]), le64toh(words[2]) };
	return key->inode != 0;
}

object_file_type_t pyg_type_of(uint32_t kind)
{
	switch (kind) {
	case S_IFREG:
		return REGULAR_FILE;
	case S_IFDIR:
		return DIRECTORY;
	case S_IFLNK:
		return SYMBOLIC_LINK;
	case S_IFIFO:
		return FIFO_FILE;
	case S_IFSOCK:
		return SOCKET_FILE;
	case S_IFBLK:
		return BLOCK_FILE;
	case S_IFCHR:
		return CHARACTER_FILE;
	default:
		return NO_FILE_TYPE;
	}
}

uint32_t pyg_kind_of(object_file_type_t type)
{
	switch (type) {
	case REGULAR_FILE:
		return S_IFREG;
	case DIRECTORY:
		return S_IFDIR;
	case SYMBOLIC_LINK:
		return S_IFLNK;
	case FIFO_FILE:
		return S_IFIFO;
	case SOCKET_FILE:
		return S_IFSOCK;
	case BLOCK_FILE:
		return S_IFBLK;
	case CHARACTER_FILE:
		return S_IFCHR;
	default:
		return 0;
	}
}

static struct timespec timespec_of(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += NS_PER_S;
	}
	return t;
}

static int64_t ns_of(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec, NS_PER_S, &ns) || __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

void pyg_fill_plain(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out)
{
	out->type = pyg_type_of(a->kind);
	out->filesize = a->size;
	out->spaceused = a->space_used;
	out->fsid.major = x->fsid_major;
	out->fsid.minor = x->fsid_minor;
	out->fileid = a->inode;
	out->generation = a->generation;
	out->mode = a->mode & 07777;
	out->numlinks = a->nlink;
	out->owner = a->uid;
	out->group = a->gid;
	out->rawdev.major = a->rdev_major;
	out->rawdev.minor = a->rdev_minor;
	out->atime = timespec_of(a->atime_ns);
	out->mtime = timespec_of(a->mtime_ns);
	out->ctime = timespec_of(a->ctime_ns);
	out->creation = timespec_of(a->btime_ns);
	out->change = a->change;
	/* Attributes change through Ganesha, which then asks anew, or an up-call says so: they never expire. */
	out->expire_time_attr = -1;
	out->supported = pyg_supported_attributes(x);
	out->valid_mask = out->supported & ~ATTR_ACL;
}

void pyg_fill_attributes(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out)
{
	pyg_fill_plain(x, a, out);
	if (x->acls && FSAL_IS_ERROR(pyg_fill_acl(x, a, out)) && FSAL_TEST_MASK(out->request_mask, ATTR_ACL)) {
		out->acl = pyg_acl_of_nobody();
		out->valid_mask |= ATTR_ACL;
	}
}

attrmask_t pyg_supported_attributes(const struct pyg_export *x)
{
	return pyg_module.fsal.fs_info.supported_attrs | (x->xattrs ? ATTR4_XATTR : 0) | (x->acls ? ATTR_ACL : 0);
}

struct fsal_obj_handle *pyg_object_new(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out)
{
	struct pyg_object *o = gsh_calloc(1, sizeof(*o));

	fsal_obj_handle_init(&o->handle, &x->export, pyg_type_of(a->kind));
	o->handle.obj_ops = &pyg_module.ops;
	o->handle.fsid.major = x->fsid_major;
	o->handle.fsid.minor = x->fsid_minor;
	o->handle.fileid = a->inode;
	o->key.fsid = x->fsid_major;
	o->key.inode = a->inode;
	o->key.generation = a->generation;
	pyg_key_to_wire(&o->key, o->wire);
	if (out)
		pyg_fill_attributes(x, a, out);
	return &o->handle;
}

void pyg_fill_set(const struct fsal_attrlist *in, struct pyg_set_attributes *out)
{
	memset(out, 0, offsetof(struct pyg_set_attributes, acl));
	if (!in)
		return;
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_MODE)) {
		out->mask |= PYG_SET_MODE;
		out->mode = in->mode & 07777;
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_OWNER)) {
		out->mask |= PYG_SET_UID;
		out->uid = in->owner;
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_GROUP)) {
		out->mask |= PYG_SET_GID;
		out->gid = in->group;
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_SIZE)) {
		out->mask |= PYG_SET_SIZE;
		out->size = in->filesize;
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_ATIME_SERVER)) {
		out->mask |= PYG_SET_ATIME_NOW;
	} else if (FSAL_TEST_MASK(in->valid_mask, ATTR_ATIME)) {
		out->mask |= PYG_SET_ATIME;
		out->atime_ns = ns_of(&in->atime);
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_MTIME_SERVER)) {
		out->mask |= PYG_SET_MTIME_NOW;
	} else if (FSAL_TEST_MASK(in->valid_mask, ATTR_MTIME)) {
		out->mask |= PYG_SET_MTIME;
		out->mtime_ns = ns_of(&in->mtime);
	}
	if (FSAL_TEST_MASK(in->valid_mask, ATTR_ACL)) {
		out->mask |= PYG_SET_ACL;
		out->acl_length = pyg_acl_to_bytes(in->acl, out->acl);
	}
}

void pyg_fill_caller(struct pyg_caller *out)
{
	out->uid = op_ctx->creds.caller_uid;
	out->gid = op_ctx->creds.caller_gid;
	out->ngroups = op_ctx->creds.caller_glen;
	out->groups = op_ctx->creds.caller_garray;
}

/* Errors ------------------------------------------------------------------------------------------------------- */

#define ERRNO_TABLE_LENGTH 256
static int errno_table[ERRNO_TABLE_LENGTH];

void pyg_set_errno_table(const int *table, size_t length)
{
	for (size_t i = 0; i < ERRNO_TABLE_LENGTH; i++)
		errno_table[i] = i < length ? table[i] : ERR_FSAL_IO;
}

fsal_status_t pyg_status_of_errno(int error)
{
	if (error < 0 || error >= ERRNO_TABLE_LENGTH)
		return fsalstat(ERR_FSAL_IO, error);
	return fsalstat(errno_table[error], error);
}
