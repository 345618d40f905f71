/* Operations on names and attributes: take arguments apart, ask Python, make handles of the answer. */
#include "python_side.h"

static fsal_status_t answer(struct pyg_export *x, int status, const struct pyganesha_attributes *a,
			    struct fsal_obj_handle **handle, struct fsal_attrlist *attrs_out)
{
	if (status == ERR_FSAL_NO_ERROR)
		*handle = pyg_object_new(x, a, attrs_out);
	return pyg_status(status);
}

static uint64_t inode_of(struct fsal_obj_handle *handle)
{
	return pyg_object_of(handle)->key.inode;
}

static void release(struct fsal_obj_handle *handle)
{
	fsal_obj_handle_fini(handle);
	gsh_free(pyg_object_of(handle));
}

/* MDCACHE found that it has the file already: what the duplicate holds goes to the original. */
static fsal_status_t merge(struct fsal_obj_handle *original, struct fsal_obj_handle *duplicate)
{
	int32_t opens = __atomic_exchange_n(&pyg_object_of(duplicate)->global_opens, 0, __ATOMIC_SEQ_CST);

	__atomic_add_fetch(&pyg_object_of(original)->global_opens, opens, __ATOMIC_SEQ_CST);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

static fsal_status_t lookup(struct fsal_obj_handle *parent, const char *name, struct fsal_obj_handle **handle,
			    struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = pyg_current_export();
	struct pyganesha_attributes a;

	return answer(x, PYG_CALL(x, pyg_py_lookup(x, inode_of(parent), name, &a)), &a, handle, attrs_out);
}

static fsal_status_t make_directory(struct fsal_obj_handle *parent, const char *name, struct fsal_attrlist *attrs_in,
				    struct fsal_obj_handle **handle, struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_set_attributes set;
	struct pyg_caller caller;
	struct pyganesha_attributes a;
	fsal_status_t status;

	pyg_fill_set(attrs_in, &set);
	status = pyg_may_enter(x, pyg_object_of(parent), DIRECTORY);
	if (!FSAL_IS_ERROR(status))
		status = pyg_may_make(DIRECTORY, &set);
	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_caller(&caller);
	return answer(x, PYG_CALL(x, pyg_py_mkdir(x, inode_of(parent), name, &set, &caller, &a)), &a, handle, attrs_out);
}

static fsal_status_t make_symlink(struct fsal_obj_handle *parent, const char *name, const char *target,
				  struct fsal_attrlist *attrs_in, struct fsal_obj_handle **handle, struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_set_attributes set;
	struct pyg_caller caller;
	struct pyganesha_attributes a;
	fsal_status_t status;

	pyg_fill_set(attrs_in, &set);
	status = pyg_may_enter(x, pyg_object_of(parent), REGULAR_FILE);
	if (!FSAL_IS_ERROR(status))
		status = pyg_may_make(SYMBOLIC_LINK, &set);
	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_caller(&caller);
	return answer(x, PYG_CALL(x, pyg_py_symlink(x, inode_of(parent), name, target, &set, &caller, &a)), &a, handle, attrs_out);
}

static fsal_status_t make_node(struct fsal_obj_handle *parent, const char *name, object_file_type_t type,
			       struct fsal_attrlist *attrs_in, struct fsal_obj_handle **handle, struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = pyg_current_export();
	bool device = attrs_in && FSAL_TEST_MASK(attrs_in->valid_mask, ATTR_RAWDEV);
	struct pyg_set_attributes set;
	struct pyg_caller caller;
	struct pyganesha_attributes a;
	fsal_status_t status;

	pyg_fill_set(attrs_in, &set);
	status = pyg_may_enter(x, pyg_object_of(parent), REGULAR_FILE);
	if (!FSAL_IS_ERROR(status))
		status = pyg_may_make(type, &set);
	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_caller(&caller);
	return answer(x,
		      PYG_CALL(x, pyg_py_mknod(x, inode_of(parent), name, pyg_kind_of(type), device ? attrs_in->rawdev.major : 0,
					       device ? attrs_in->rawdev.minor : 0, &set, &caller, &a)),
		      &a, handle, attrs_out);
}

static fsal_status_t read_link(struct fsal_obj_handle *handle, struct gsh_buffdesc *content, bool refresh)
{
	struct pyg_export *x = pyg_current_export();
	char *target;
	size_t length;
	int status = PYG_CALL(x, pyg_py_readlink(x, inode_of(handle), &target, &length));

	if (status == ERR_FSAL_NO_ERROR) {
		content->addr = target;
		content->len = length + 1;
	}
	return pyg_status(status);
}

/* The native core first: MDCACHE asks around every write and commit, and they must not wait for Python's lock. */
fsal_status_t pyg_get_attributes(struct pyg_export *x, const struct pyg_key *key, struct pyganesha_attributes *out)
{
	if (x->io) {
		int rc = x->io->getattributes(x->io->core, key->inode, key->generation, out);

		if (rc == PYGANESHA_DONE)
			return pyg_status(ERR_FSAL_NO_ERROR);
		if (rc < 0)
			return pyg_status_of_errno(-rc);
	}
	return pyg_status(PYG_CALL(x, pyg_py_getattr(x, key->inode, key->generation, out)));
}

static fsal_status_t get_attributes(struct fsal_obj_handle *handle, struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = pyg_current_export();
	struct pyganesha_attributes a;
	fsal_status_t status = pyg_get_attributes(x, &pyg_object_of(handle)->key, &a);

	if (!FSAL_IS_ERROR(status)) {
		pyg_fill_plain(x, &a, attrs_out);
		/* This is how MDCACHE asks anew: without the list it would trust the one it has, though that may be why it asks. */
		if (a.mode & PYG_MODE_ACL)
			FSAL_SET_MASK(attrs_out->request_mask, ATTR_ACL);
		if (x->acls)
			status = pyg_fill_acl(x, &a, attrs_out);
	}
	if (FSAL_IS_ERROR(status) && FSAL_TEST_MASK(attrs_out->request_mask, ATTR_RDATTR_ERR))
		attrs_out->valid_mask = ATTR_RDATTR_ERR;
	return status;
}

static fsal_status_t set_attributes(struct fsal_obj_handle *handle, bool bypass, struct state_t *state, struct fsal_attrlist *attrs)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	struct pyg_set_attributes set;
	struct pyg_caller caller;
	fsal_status_t status;

	if (FSAL_TEST_MASK(attrs->valid_mask, ATTR_ACL) && !x->acls)
		return pyg_status(ERR_FSAL_ATTRNOTSUPP);
	if (FSAL_TEST_MASK(attrs->valid_mask, ATTR_SIZE)) {
		if (handle->type != REGULAR_FILE)
			return pyg_status(handle->type == DIRECTORY ? ERR_FSAL_ISDIR : ERR_FSAL_INVAL);
		status = pyg_may_access(x, o, state, FSAL_O_WRITE, bypass);
		if (FSAL_IS_ERROR(status))
			return status;
	}
	pyg_fill_set(attrs, &set);
	status = pyg_may_set_times(x, o, &set);
	if (!FSAL_IS_ERROR(status))
		status = pyg_drop_set_id(x, o, &set);
	if (FSAL_IS_ERROR(status))
		return status;
	pyg_fill_caller(&caller);
	return pyg_status(PYG_CALL(x, pyg_py_setattr(x, o->key.inode, &set, &caller)));
}

static fsal_status_t make_link(struct fsal_obj_handle *handle, struct fsal_obj_handle *directory, const char *name)
{
	struct pyg_export *x = pyg_current_export();

	return pyg_status(PYG_CALL(x, pyg_py_link(x, inode_of(handle), inode_of(directory), name)));
}

/* A file that lost a name while open: if that was its last, the last close will tell Python. Asks the file itself, since the
 * name may have been one of several. Where it was closed meanwhile, nobody else would tell. */
static void note_orphan(struct pyg_export *x, const struct pyg_key *key)
{
	struct pyganesha_attributes a;

	if (PYG_CALL(x, pyg_py_getattr(x, key->inode, key->generation, &a)) != ERR_FSAL_NO_ERROR || a.nlink > 0)
		return;
	if (!pyg_opens_mark_orphan(&x->shared->opens, key->inode))
		(void)PYG_CALL(x, pyg_py_released(x, key->inode));
}

static fsal_status_t may_rename(struct pyg_export *x, struct pyg_object *moved, struct pyg_object *from, struct pyg_object *to,
				const struct pyg_key *victim)
{
	fsal_status_t status = pyg_may_remove(x, from, &moved->key);

	if (!FSAL_IS_ERROR(status))
		status = pyg_may_enter(x, to, moved->handle.type);
	if (!FSAL_IS_ERROR(status) && victim)
		status = pyg_may_remove(x, to, victim);
	if (!FSAL_IS_ERROR(status) && from->key.inode != to->key.inode)
		status = pyg_may_move(x, moved);
	return status;
}

static fsal_status_t rename_name(struct fsal_obj_handle *handle, struct fsal_obj_handle *old_directory, const char *old_name,
				 struct fsal_obj_handle *new_directory, const char *new_name)
{
	struct pyg_export *x = pyg_current_export();
	struct pyganesha_attributes a;
	struct pyg_key victim;
	bool replaces = false, victim_open = false;
	fsal_status_t status;

	/* Ganesha does not say what the new name holds. It matters to permissions, and while anything is open to orphans. */
	if (op_ctx->creds.caller_uid != 0 || __atomic_load_n(&x->shared->opens.inodes, __ATOMIC_SEQ_CST) > 0)
		replaces = PYG_CALL(x, pyg_py_lookup(x, inode_of(new_directory), new_name, &a)) == ERR_FSAL_NO_ERROR;
	if (replaces) {
		victim = (struct pyg_key){ x->fsid_major, a.inode, a.generation };
		victim_open = a.inode != inode_of(handle) && pyg_opens_is_open(&x->shared->opens, a.inode);
	}
	status = may_rename(x, pyg_object_of(handle), pyg_object_of(old_directory), pyg_object_of(new_directory),
			    replaces ? &victim : NULL);
	if (FSAL_IS_ERROR(status))
		return status;
	status = pyg_status(
		PYG_CALL(x, pyg_py_rename(x, inode_of(old_directory), old_name, inode_of(new_directory), new_name, victim_open)));
	if (!FSAL_IS_ERROR(status) && victim_open)
		note_orphan(x, &victim);
	return status;
}

static fsal_status_t remove_name(struct fsal_obj_handle *directory, struct fsal_obj_handle *handle, const char *name)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *victim = pyg_object_of(handle);
	bool victim_open = pyg_opens_is_open(&x->shared->opens, victim->key.inode);
	fsal_status_t status = pyg_may_remove(x, pyg_object_of(directory), &victim->key);

	if (FSAL_IS_ERROR(status))
		return status;
	status = pyg_status(PYG_CALL(x, pyg_py_unlink(x, inode_of(directory), name, victim_open)));
	if (!FSAL_IS_ERROR(status) && victim_open)
		note_orphan(x, &victim->key);
	return status;
}

static fsal_status_t handle_to_wire(const struct fsal_obj_handle *handle, fsal_digesttype_t type, struct gsh_buffdesc *out)
{
	if (out->len < PYG_WIRE_BYTES)
		return pyg_status(ERR_FSAL_TOOSMALL);
	memcpy(out->addr, container_of(handle, const struct pyg_object, handle)->wire, PYG_WIRE_BYTES);
	out->len = PYG_WIRE_BYTES;
	return pyg_status(ERR_FSAL_NO_ERROR);
}

static void handle_to_key(struct fsal_obj_handle *handle, struct gsh_buffdesc *out)
{
	out->addr = pyg_object_of(handle)->wire;
	out->len = PYG_WIRE_BYTES;
}

void pyg_object_ops(struct fsal_obj_ops *ops)
{
	ops->release = release;
	ops->merge = merge;
	ops->lookup = lookup;
	ops->mkdir = make_directory;
	ops->symlink = make_symlink;
	ops->mknode = make_node;
	ops->readlink = read_link;
	ops->getattrs = get_attributes;
	ops->setattr2 = set_attributes;
	ops->link = make_link;
	ops->rename = rename_name;
	ops->unlink = remove_name;
	ops->handle_to_wire = handle_to_wire;
	ops->handle_to_key = handle_to_key;
	pyg_directory_ops(ops);
	pyg_xattr_ops(ops);
}
