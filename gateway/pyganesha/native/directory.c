/* Reading directories: Python is asked for a batch of entries at a time, Ganesha gets them without Python's lock. */
#include "python_side.h"

/* MDCACHE takes 128 entries (Dir_Chunk) and then stops: a batch is one entry of the lock for a chunk. */
#define BATCH 128

struct delivery {
	struct pyg_export *export;
	void *dir_state;
	fsal_readdir_cb callback;
	attrmask_t mask;
};

static enum fsal_dir_result deliver(struct delivery *d, const struct pyg_dirent *entry)
{
	struct fsal_attrlist attrs;
	struct fsal_obj_handle *handle;
	enum fsal_dir_result result;

	fsal_prepare_attrs(&attrs, d->mask);
	handle = pyg_object_new(d->export, &entry->attributes, &attrs);
	result = d->callback(entry->name, handle, &attrs, d->dir_state, entry->cookie); /* takes the handle */
	fsal_release_attrs(&attrs);
	return result;
}

static fsal_status_t read_directory(struct fsal_obj_handle *directory, fsal_cookie_t *whence, void *dir_state,
				    fsal_readdir_cb callback, attrmask_t mask, bool *eof)
{
	struct delivery d = { pyg_current_export(), dir_state, callback, mask };
	struct pyg_dirent *entries;
	void *reader;
	bool ended = false, stopped = false;
	int status;

	status = PYG_CALL(d.export,
			  pyg_py_readdir_open(d.export, pyg_object_of(directory)->key.inode, whence ? *whence : 0, &reader));
	if (status != ERR_FSAL_NO_ERROR)
		return pyg_status(status);
	entries = gsh_malloc(BATCH * sizeof(*entries));
	while (!ended && !stopped) {
		size_t count;

		status = PYG_CALL(d.export, pyg_py_readdir_next(reader, entries, BATCH, &count, &ended));
		if (status != ERR_FSAL_NO_ERROR)
			break;
		for (size_t i = 0; i < count && !stopped; i++)
			stopped = deliver(&d, &entries[i]) >= DIR_READAHEAD;
	}
	gsh_free(entries);
	pyg_enter(d.export);
	pyg_py_readdir_close(reader);
	(void)pyg_leave(d.export, ERR_FSAL_NO_ERROR);
	if (status == ERR_FSAL_NO_ERROR)
		*eof = ended && !stopped; /* whoever stops may not have taken the last one */
	return pyg_status(status);
}

void pyg_directory_ops(struct fsal_obj_ops *ops)
{
	ops->readdir = read_directory;
}
