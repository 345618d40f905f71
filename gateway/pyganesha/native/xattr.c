/* Extended attributes (RFC 8276). Names have no prefix here: clients know those of users only, `user.` on Linux.
 *
 * Ganesha checks neither permissions nor whether the export may be written, and MDCACHE passes the calls on without a look at
 * what it has cached: all of that is done here.
 */
#include "python_side.h"

#include "fsal_up.h"

/* What an operation needs: bits of rwx. */
enum { READS = 4, WRITES = 2 };

/* XDR_ARRAY_MAXLEN: a reply with more names cannot be encoded, and would never leave. */
#define NAMES_MAX 1024

static fsal_status_t check(struct pyg_export *x, const struct pyg_object *o, uint32_t wanted)
{
	if (!x->xattrs)
		return pyg_status(ERR_FSAL_NOTSUPP);
	if (wanted == WRITES && !(op_ctx->export_perms.options & EXPORT_OPTION_WRITE_ACCESS))
		return pyg_status(ERR_FSAL_ROFS);
	return pyg_may_use_xattrs(x, o, wanted);
}

static const char *bytes_of(const utf8string *s)
{
	return s->utf8string_len ? s->utf8string_val : "";
}

/* MDCACHE trusts its attributes until it is told. Allowed inside an operation: these four hold none of its locks, and only a
 * flag is cleared. The change that is asked for next, for the reply, is then the new one. */
static void distrust(struct pyg_export *x, struct pyg_object *o)
{
	struct gsh_buffdesc key = { .addr = o->wire, .len = sizeof(o->wire) };
	struct fsal_up_vector *up_ops = (struct fsal_up_vector *)x->export.up_ops;

	up_ops->invalidate(up_ops, &key, FSAL_UP_INVALIDATE_ATTRS);
}

/* The caller offers 1 KiB at first; where that is too little it expects XATTR2BIG, then the size, and asks again, by when the
 * value may have grown. It frees whatever buffer it finds afterwards, unless the answer is another error: then nobody
 * does. So the value comes in a buffer of its own, in one call, and errors leave none. */
static fsal_status_t get_xattr(struct fsal_obj_handle *handle, xattrkey4 *name, xattrvalue4 *value)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status = check(x, o, READS);
	char *content = NULL;
	size_t length = 0;

	if (!FSAL_IS_ERROR(status))
		status = pyg_status(PYG_CALL(
			x, pyg_py_getxattr(x, o->key.inode, bytes_of(name), name->utf8string_len, &content, &length)));
	if (!FSAL_IS_ERROR(status) && length > pyg_xattr_value_max) /* a reply that cannot be encoded would never leave */
		status = pyg_status(ERR_FSAL_XATTR2BIG);
	if (FSAL_IS_ERROR(status)) {
		gsh_free(content);
		content = NULL;
		length = 0;
	}
	gsh_free(value->utf8string_val);
	value->utf8string_val = content;
	value->utf8string_len = length;
	return status;
}

static fsal_status_t set_xattr(struct fsal_obj_handle *handle, setxattr_option4 option, xattrkey4 *name, xattrvalue4 *value)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status = check(x, o, WRITES);

	if (FSAL_IS_ERROR(status))
		return status;
	if (option > SETXATTR4_REPLACE) /* an unsigned enum, as it came */
		return pyg_status(ERR_FSAL_INVAL);
	status = pyg_status(PYG_CALL(x, pyg_py_setxattr(x, o->key.inode, bytes_of(name), name->utf8string_len,
							bytes_of(value), value->utf8string_len, option)));
	if (!FSAL_IS_ERROR(status))
		distrust(x, o);
	return status;
}

static fsal_status_t remove_xattr(struct fsal_obj_handle *handle, xattrkey4 *name)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status = check(x, o, WRITES);

	if (FSAL_IS_ERROR(status))
		return status;
	status = pyg_status(PYG_CALL(x, pyg_py_removexattr(x, o->key.inode, bytes_of(name), name->utf8string_len)));
	if (!FSAL_IS_ERROR(status))
		distrust(x, o);
	return status;
}

/* `room`: bytes for the array of names as XDR has it. */
static fsal_status_t list_xattrs(struct fsal_obj_handle *handle, count4 room, nfs_cookie4 *cookie, bool_t *eof, xattrlist4 *names)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status = check(x, o, READS);
	struct pyg_xattr_page page;

	if (FSAL_IS_ERROR(status))
		return status;
	status = pyg_status(PYG_CALL(x, pyg_py_listxattr(x, o->key.inode, *cookie, room, NAMES_MAX, &page)));
	if (FSAL_IS_ERROR(status))
		return status;
	names->xl4_count = page.count;
	names->xl4_entries = page.count ? gsh_calloc(page.count, sizeof(*names->xl4_entries)) : NULL;
	for (uint32_t i = 0; i < page.count; i++) {
		names->xl4_entries[i].utf8string_val = page.names[i];
		names->xl4_entries[i].utf8string_len = page.lengths[i];
	}
	gsh_free(page.names);
	gsh_free(page.lengths);
	*cookie = page.cookie;
	*eof = page.eof;
	return status;
}

void pyg_xattr_ops(struct fsal_obj_ops *ops)
{
	ops->getxattrs = get_xattr;
	ops->setxattrs = set_xattr;
	ops->removexattrs = remove_xattr;
	ops->listxattrs = list_xattrs;
}
