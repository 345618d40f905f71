/* Opens, creates, closes. There is no descriptor below: an open is an entry of the export's open table. */
#include "python_side.h"

static bool is_share(const struct state_t *state)
{
	return state->state_type == STATE_TYPE_SHARE || state->state_type == STATE_TYPE_NLM_SHARE ||
	       state->state_type == STATE_TYPE_9P_FID;
}

/* Takes a state from its present flags to others, in the table and in the state. */
static fsal_status_t change_open(struct pyg_export *x, uint64_t inode, struct state_t *state, fsal_openflags_t flags)
{
	struct fsal_fd *fd = pyg_fd_of(state);
	fsal_openflags_t wanted = FSAL_O_NFS_FLAGS(flags);
	fsal_status_t status = pyg_status(ERR_FSAL_NO_ERROR);

	if (wanted == FSAL_O_CLOSED) {
		if (fd->openflags != FSAL_O_CLOSED && pyg_opens_release(&x->shared->opens, inode, fd->openflags))
			(void)PYG_CALL(x, pyg_py_released(x, inode));
	} else {
		status = pyg_opens_change(&x->shared->opens, inode, fd->openflags, wanted);
	}
	if (!FSAL_IS_ERROR(status))
		fd->openflags = wanted;
	return status;
}

static fsal_status_t truncate_to_zero(struct pyg_export *x, const struct pyg_object *o)
{
	struct pyg_set_attributes set = { .mask = PYG_SET_SIZE };
	struct pyg_caller caller;
	fsal_status_t status = pyg_drop_set_id(x, o, &set);

	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_caller(&caller);
	return pyg_status(PYG_CALL(x, pyg_py_setattr(x, o->key.inode, &set, &caller)));
}

static bool verifier_matches(struct pyg_export *x, const struct pyganesha_attributes *a, fsal_verifier_t verifier)
{
	struct fsal_attrlist attrs = { 0 };

	pyg_fill_plain(x, a, &attrs);
	return check_verifier_attrlist(&attrs, verifier, false);
}

static bool compares_verifier(enum fsal_create_mode how)
{
	return how >= FSAL_EXCLUSIVE && how != FSAL_EXCLUSIVE_9P;
}

static fsal_status_t not_a_file(uint32_t kind)
{
	object_file_type_t type = pyg_type_of(kind);

	if (type == DIRECTORY)
		return pyg_status(ERR_FSAL_ISDIR);
	return pyg_status(type == REGULAR_FILE ? ERR_FSAL_NO_ERROR : ERR_FSAL_SYMLINK);
}

/* A stateless open (a v3 CREATE): Ganesha adds one to open_fd_count as we return. See close_global. */
static void count_global_open(struct pyg_object *o)
{
	__atomic_add_fetch(&o->global_opens, 1, __ATOMIC_SEQ_CST);
}

static fsal_status_t open_handle(struct pyg_export *x, struct pyg_object *o, struct state_t *state, fsal_openflags_t flags,
				 enum fsal_create_mode how, fsal_verifier_t verifier, struct fsal_attrlist *attrs_out)
{
	fsal_status_t status = pyg_status(ERR_FSAL_NO_ERROR);
	struct pyganesha_attributes a;

	status = state ? change_open(x, o->key.inode, state, flags) : pyg_opens_check(&x->shared->opens, o->key.inode, flags, false);
	if (FSAL_IS_ERROR(status))
		return status;
	if (flags & FSAL_O_TRUNC)
		status = truncate_to_zero(x, o);
	if (!FSAL_IS_ERROR(status) && (compares_verifier(how) || attrs_out)) {
		status = pyg_get_attributes(x, &o->key, &a);
		if (!FSAL_IS_ERROR(status) && compares_verifier(how) && !verifier_matches(x, &a, verifier))
			status = pyg_status(ERR_FSAL_EXIST);
	}
	if (FSAL_IS_ERROR(status)) {
		if (state)
			(void)change_open(x, o->key.inode, state, FSAL_O_CLOSED);
		return status;
	}
	if (attrs_out)
		pyg_fill_attributes(x, &a, attrs_out);
	if (!state)
		count_global_open(o);
	return status;
}

static fsal_status_t create(struct pyg_export *x, struct pyg_object *directory, const char *name, enum fsal_create_mode how,
			    const struct fsal_attrlist *attrs_in, struct pyganesha_attributes *a, bool *created)
{
	int mode = how >= FSAL_EXCLUSIVE ? PYG_EXCLUSIVE : how == FSAL_GUARDED ? PYG_GUARDED : PYG_UNCHECKED;
	fsal_status_t status = pyg_may_enter(x, directory, REGULAR_FILE);
	struct pyg_set_attributes set;
	struct pyg_caller caller;

	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_set(attrs_in, &set);
	pyg_fill_caller(&caller);
	return pyg_status(PYG_CALL(x, pyg_py_create(x, directory->key.inode, name, mode, &set, &caller, a, created)));
}

/* The name was there already: what an open does to it. `*a` is renewed where that changes the file. */
static fsal_status_t take_existing(struct pyg_export *x, struct pyg_object *o, fsal_openflags_t flags, enum fsal_create_mode how,
				   fsal_verifier_t verifier, struct pyganesha_attributes *a)
{
	fsal_status_t status = not_a_file(a->kind);

	if (!FSAL_IS_ERROR(status) && compares_verifier(how) && !verifier_matches(x, a, verifier))
		status = pyg_status(ERR_FSAL_EXIST);
	if (FSAL_IS_ERROR(status) || !(flags & FSAL_O_TRUNC))
		return status;
	/* Ganesha checks the caller's access to the file only when we are back. */
	status = pyg_may_write(x, a);
	if (!FSAL_IS_ERROR(status))
		status = pyg_opens_check(&x->shared->opens, o->key.inode, FSAL_O_WRITE, false);
	if (!FSAL_IS_ERROR(status))
		status = truncate_to_zero(x, o);
	if (!FSAL_IS_ERROR(status))
		status = pyg_get_attributes(x, &o->key, a);
	return status;
}

static fsal_status_t open_name(struct pyg_export *x, struct pyg_object *directory, struct state_t *state, fsal_openflags_t flags,
			       enum fsal_create_mode how, const char *name, struct fsal_attrlist *attrs_in, fsal_verifier_t verifier,
			       struct fsal_obj_handle **new_handle, struct fsal_attrlist *attrs_out, bool *caller_perm_check)
{
	struct fsal_obj_handle *handle;
	struct pyganesha_attributes a;
	bool created = false;
	fsal_status_t status;

	if (how == FSAL_NO_CREATE) {
		status = pyg_status(PYG_CALL(x, pyg_py_lookup(x, directory->key.inode, name, &a)));
	} else {
		status = create(x, directory, name, how, attrs_in, &a, &created);
	}
	if (FSAL_IS_ERROR(status))
		return status;
	handle = pyg_object_new(x, &a, NULL);
	if (!created)
		status = take_existing(x, pyg_object_of(handle), flags, how, verifier, &a);
	if (!FSAL_IS_ERROR(status) && state)
		status = change_open(x, a.inode, state, flags);
	if (FSAL_IS_ERROR(status)) {
		handle->obj_ops->release(handle);
		return status;
	}
	if (attrs_out)
		pyg_fill_attributes(x, &a, attrs_out);
	if (!state)
		count_global_open(pyg_object_of(handle));
	*new_handle = handle;
	*caller_perm_check = !created;
	return status;
}

static fsal_status_t open2(struct fsal_obj_handle *handle, struct state_t *state, fsal_openflags_t flags, enum fsal_create_mode how,
			   const char *name, struct fsal_attrlist *attrs_in, fsal_verifier_t verifier,
			   struct fsal_obj_handle **new_handle, struct fsal_attrlist *attrs_out, bool *caller_perm_check)
{
	struct pyg_export *x = pyg_current_export();
	struct fsal_attrlist only_verifier = { 0 };

	if (how >= FSAL_EXCLUSIVE) {
		if (!attrs_in)
			attrs_in = &only_verifier;
		set_common_verifier(attrs_in, verifier, false);
	}
	if (!name)
		return open_handle(x, pyg_object_of(handle), state, flags, how, verifier, attrs_out);
	return open_name(x, pyg_object_of(handle), state, flags, how, name, attrs_in, verifier, new_handle, attrs_out,
			 caller_perm_check);
}

static fsal_status_t reopen2(struct fsal_obj_handle *handle, struct state_t *state, fsal_openflags_t flags)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_openflags_t before = pyg_fd_of(state)->openflags;
	fsal_status_t status = change_open(x, o->key.inode, state, flags);

	if (FSAL_IS_ERROR(status) || !(flags & FSAL_O_TRUNC))
		return status;
	status = truncate_to_zero(x, o);
	if (FSAL_IS_ERROR(status))
		(void)change_open(x, o->key.inode, state, before);
	return status;
}

static fsal_openflags_t status2(struct fsal_obj_handle *handle, struct state_t *state)
{
	return pyg_fd_of(state)->openflags;
}

static fsal_status_t close2(struct fsal_obj_handle *handle, struct state_t *state)
{
	if (is_share(state))
		return change_open(pyg_current_export(), pyg_object_of(handle)->key.inode, state, FSAL_O_CLOSED);
	pyg_fd_of(state)->openflags = FSAL_O_CLOSED;
	return pyg_status(ERR_FSAL_NO_ERROR);
}

/* Closes the "global descriptor". Ganesha has added one to open_fd_count for each stateless open and takes one
 * away when this succeeds; further ones of the same file we take away here. Without it the count only ever grows, and at its
 * limit every v3 CREATE is answered JUKEBOX for ever. */
static fsal_status_t close_global(struct fsal_obj_handle *handle)
{
	int32_t opens = __atomic_exchange_n(&pyg_object_of(handle)->global_opens, 0, __ATOMIC_SEQ_CST);

	if (opens == 0)
		return pyg_status(ERR_FSAL_NOT_OPENED);
	if (opens > 1)
		__atomic_sub_fetch(&open_fd_count, opens - 1, __ATOMIC_SEQ_CST);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

/* Byte-range locks: one server holds all of them, in Ganesha's own table, which has found no conflict when it calls this. */
static fsal_status_t lock_op2(struct fsal_obj_handle *handle, struct state_t *state, void *owner, fsal_lock_op_t operation,
			      fsal_lock_param_t *request, fsal_lock_param_t *conflict)
{
	return pyg_status(ERR_FSAL_NO_ERROR);
}

void pyg_open_ops(struct fsal_obj_ops *ops)
{
	ops->open2 = open2;
	ops->reopen2 = reopen2;
	ops->status2 = status2;
	ops->close2 = close2;
	ops->close = close_global;
	ops->lock_op2 = lock_op2;
}
