/* NFS 4.2's operations on sparse files: SEEK, ALLOCATE, DEALLOCATE, and IO_ADVISE. As in io.c, a native core answers without
 * Python's lock.
 */
#include "python_side.h"

/* One attempt at the core: one of its functions with its arguments. */
struct core_call {
	int (*ask)(const struct pyganesha_io *io, const struct pyg_key *key, struct core_call *call);
	uint64_t offset;
	uint64_t length;
	bool what; /* seek: for a hole; change: to allocate */
	uint32_t uid;
	uint64_t found;
	bool eof;
};

static int ask_seek(const struct pyganesha_io *io, const struct pyg_key *key, struct core_call *c)
{
	return io->seek(io->core, key->inode, key->generation, c->offset, c->what, &c->found, &c->eof);
}

static int ask_change(const struct pyganesha_io *io, const struct pyg_key *key, struct core_call *c)
{
	int (*change)(void *, uint64_t, uint64_t, uint64_t, uint64_t, uint32_t) = c->what ? io->allocate : io->deallocate;

	return change(io->core, key->inode, key->generation, c->offset, c->length, c->uid);
}

static int ask_will_need(const struct pyganesha_io *io, const struct pyg_key *key, struct core_call *c)
{
	return io->will_need(io->core, key->inode, key->generation, c->offset, c->length);
}

/* Asks the core, which is told of the inode by Fsal.load where it does not know it. */
static fsal_status_t by_core(struct pyg_export *x, const struct pyg_key *key, struct core_call *call)
{
	for (int attempt = 0; attempt < PYG_LOAD_ATTEMPTS; attempt++) {
		int rc = call->ask(x->io, key, call);

		if (rc == PYGANESHA_DONE)
			return pyg_status(ERR_FSAL_NO_ERROR);
		if (rc != PYGANESHA_NOT_RESIDENT)
			return pyg_status_of_errno(-rc);
		rc = PYG_CALL(x, pyg_py_load(x, key->inode, key->generation));
		if (rc != ERR_FSAL_NO_ERROR)
			return pyg_status(rc);
	}
	return pyg_status(ERR_FSAL_DELAY);
}

/* Share reservations, in the words of reads and writes. */
static fsal_status_t may_access(struct pyg_export *x, struct pyg_object *o, struct state_t *state, fsal_openflags_t wanted)
{
	fsal_status_t status = pyg_may_access(x, o, state, wanted, false);

	return status.major == ERR_FSAL_SHARE_DENIED ? pyg_status(ERR_FSAL_LOCKED) : status;
}

/* Ganesha has checked the stateid, but not that the file was opened for reading: where the data are says little, so an open for
 * writing alone will do, unless somebody denies reads. */
static fsal_status_t seek2(struct fsal_obj_handle *handle, struct state_t *state, struct io_info *info)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	struct core_call call = {
		.ask = ask_seek,
		.offset = info->io_content.hole.di_offset,
		.what = info->io_content.what == NFS4_CONTENT_HOLE,
	};
	fsal_status_t status;

	if (info->io_content.what != NFS4_CONTENT_DATA && info->io_content.what != NFS4_CONTENT_HOLE)
		return pyg_status(ERR_FSAL_UNION_NOTSUPP);
	status = may_access(x, o, state, FSAL_O_READ);
	if (FSAL_IS_ERROR(status))
		return status;
	if (x->io) {
		status = by_core(x, &o->key, &call);
	} else {
		status = pyg_status(PYG_CALL(x, pyg_py_seek(x, o->key.inode, call.offset, call.what, &call.found, &call.eof)));
	}
	if (!FSAL_IS_ERROR(status)) {
		info->io_content.hole.di_offset = call.found;
		info->io_eof = call.eof;
	}
	return status;
}

/* ALLOCATE and DEALLOCATE. Ganesha has checked the stateid and the mode bits. It has not checked that the export may be written
 * to, as it does for WRITE, and a special stateid needs no OPEN that would have been refused. */
static fsal_status_t op_fallocate(struct fsal_obj_handle *handle, struct state_t *state, uint64_t offset, uint64_t length,
				  bool allocate)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	struct core_call call = {
		.ask = ask_change,
		.offset = offset,
		.length = length,
		.what = allocate,
		.uid = op_ctx->creds.caller_uid,
	};
	struct pyg_caller caller;
	fsal_status_t status;

	if (!(op_ctx->export_perms.options & EXPORT_OPTION_WRITE_ACCESS))
		return pyg_status(ERR_FSAL_ROFS);
	status = may_access(x, o, state, FSAL_O_WRITE);
	if (FSAL_IS_ERROR(status))
		return status;
	if (x->io)
		return by_core(x, &o->key, &call);
	pyg_fill_caller(&caller);
	if (allocate)
		return pyg_status(PYG_CALL(x, pyg_py_allocate(x, o->key.inode, offset, length, &caller)));
	return pyg_status(PYG_CALL(x, pyg_py_deallocate(x, o->key.inode, offset, length, &caller)));
}

/* Honoured, and answered so: that a range will be read. What else a client says changes nothing here. Advice that could not be
 * taken is no error. */
static void advise(struct fsal_obj_handle *handle, struct io_hints *hints)
{
	const uint32_t soon = hints->hints & (1u << IO_ADVISE4_WILLNEED | 1u << IO_ADVISE4_WILLNEED_OPPORTUNISTIC);
	struct pyg_export *x = pyg_current_export();
	struct core_call call = { .ask = ask_will_need, .offset = hints->offset, .length = hints->count };

	hints->hints = 0;
	if (soon && x->io && !FSAL_IS_ERROR(by_core(x, &pyg_object_of(handle)->key, &call)))
		hints->hints = soon;
}

static fsal_status_t io_advise(struct fsal_obj_handle *handle, struct io_hints *hints)
{
	advise(handle, hints);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

/* Ganesha 4.3 calls io_advise; the form with a state is there for who comes after it. */
static fsal_status_t io_advise2(struct fsal_obj_handle *handle, struct state_t *state, struct io_hints *hints)
{
	advise(handle, hints);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

void pyg_sparse_ops(struct fsal_obj_ops *ops)
{
	ops->seek2 = seek2;
	ops->fallocate = op_fallocate;
	ops->io_advise = io_advise;
	ops->io_advise2 = io_advise2;
}
