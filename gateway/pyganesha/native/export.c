/* An export: its file system object, its root, handles that come from the wire, up-calls. */
#include "python_side.h"

#include "fsal_up.h"

static void free_export(struct pyg_export *x)
{
	pyg_unshare(x);
	gsh_free(x->factory);
	gsh_free(x->options);
	gsh_free(x);
}

static void export_release(struct fsal_export *export)
{
	struct pyg_export *x = container_of(export, struct pyg_export, export);

	pyg_thread_enter();
	pyg_py_close_export(x);
	fsal_detach_export(export->fsal, &export->exports);
	free_export_ops(export);
	free_export(x);
}

/* Only the export's root: clients reach everything else by looking up names. */
static fsal_status_t lookup_path(struct fsal_export *export, const char *path, struct fsal_obj_handle **handle,
				 struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = container_of(export, struct pyg_export, export);
	struct pyganesha_attributes a;
	int status;

	status = PYG_CALL(x, pyg_py_root(x, &a));
	if (status == ERR_FSAL_NO_ERROR)
		*handle = pyg_object_new(x, &a, attrs_out);
	else
		LogCrit(COMPONENT_FSAL, "PYGANESHA: export %u: Fsal.root() failed with status %d", x->id, status);
	return pyg_status(status);
}

/* Whoever sends what we never made gets BADHANDLE; whether the inode still exists, create_handle finds out. */
static fsal_status_t wire_to_host(struct fsal_export *export, fsal_digesttype_t type, struct gsh_buffdesc *desc, int flags)
{
	struct pyg_export *x = container_of(export, struct pyg_export, export);
	struct pyg_key key;

	if (!pyg_key_from_wire(desc, &key) || key.fsid != x->fsid_major)
		return pyg_status(ERR_FSAL_BADHANDLE);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

static fsal_status_t create_handle(struct fsal_export *export, struct gsh_buffdesc *desc, struct fsal_obj_handle **handle,
				   struct fsal_attrlist *attrs_out)
{
	struct pyg_export *x = container_of(export, struct pyg_export, export);
	struct pyganesha_attributes a;
	struct pyg_key key;
	int status;

	if (!pyg_key_from_wire(desc, &key) || key.fsid != x->fsid_major)
		return pyg_status(ERR_FSAL_BADHANDLE);
	/* Python decides whether the inode is still that generation; attributes of a core may outlive the name. */
	status = PYG_CALL(x, pyg_py_getattr(x, key.inode, key.generation, &a));
	if (status == ERR_FSAL_NOENT)
		status = ERR_FSAL_STALE;
	if (status == ERR_FSAL_NO_ERROR)
		*handle = pyg_object_new(x, &a, attrs_out);
	return pyg_status(status);
}

static fsal_status_t dynamic_info(struct fsal_export *export, struct fsal_obj_handle *handle, fsal_dynamicfsinfo_t *out)
{
	struct pyg_export *x = container_of(export, struct pyg_export, export);
	struct pyg_fs_info info;
	int status = PYG_CALL(x, pyg_py_statfs(x, pyg_object_of(handle)->key.inode, &info));

	if (status != ERR_FSAL_NO_ERROR)
		return pyg_status(status);
	*out = (fsal_dynamicfsinfo_t){
		.total_bytes = info.total_bytes,
		.free_bytes = info.free_bytes,
		.avail_bytes = info.available_bytes,
		.total_files = info.total_files,
		.free_files = info.free_files,
		.avail_files = info.free_files,
		.time_delta = { .tv_nsec = 1 },
	};
	return pyg_status(ERR_FSAL_NO_ERROR);
}

/* Whether there are extended attributes is a matter of the export's Fsal, not of the module. */
static attrmask_t supported_attributes(struct fsal_export *export)
{
	return pyg_supported_attributes(container_of(export, struct pyg_export, export));
}

static bool (*module_supports)(struct fsal_export *, fsal_fsinfo_options_t); /* Ganesha's, which asks the fs_info */

static bool supports(struct fsal_export *export, fsal_fsinfo_options_t option)
{
	if (option == fso_xattr_support)
		return container_of(export, struct pyg_export, export)->xattrs;
	return module_supports(export, option);
}

static fsal_aclsupp_t acl_support(struct fsal_export *export)
{
	return container_of(export, struct pyg_export, export)->acls ? FSAL_ACLSUPPORT_ALLOW | FSAL_ACLSUPPORT_DENY : 0;
}

/* With room behind it for the open flags: pyg_fd_of. */
static struct state_t *alloc_state(struct fsal_export *export, enum state_type type, struct state_t *related)
{
	return init_state(gsh_calloc(1, sizeof(struct state_t) + sizeof(struct fsal_fd)), export, type, related);
}

fsal_status_t pyg_create_export(struct fsal_module *module, void *parse_node, struct config_error_type *errors,
				const struct fsal_up_vector *up_ops)
{
	struct pyg_export *x = gsh_calloc(1, sizeof(*x));
	int status;

	x->id = op_ctx->ctx_export->export_id;
	fsal_export_init(&x->export);
	x->export.exp_ops.release = export_release;
	x->export.exp_ops.lookup_path = lookup_path;
	x->export.exp_ops.wire_to_host = wire_to_host;
	x->export.exp_ops.create_handle = create_handle;
	x->export.exp_ops.get_fs_dynamic_info = dynamic_info;
	x->export.exp_ops.alloc_state = alloc_state;
	x->export.exp_ops.fs_supported_attrs = supported_attributes;
	module_supports = x->export.exp_ops.fs_supports;
	x->export.exp_ops.fs_supports = supports;
	x->export.exp_ops.fs_acl_support = acl_support;
	x->export.fsal = module;
	x->export.up_ops = up_ops;
	if (load_config_from_node(parse_node, &pyg_export_block, x, true, errors) != 0) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: export %u: its FSAL block needs Factory = \"module:callable\" (and Options)", x->id);
		status = ERR_FSAL_INVAL;
		goto failed;
	}
	if (!pyg_python_runs()) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: export %u: Python does not run, see above", x->id);
		status = ERR_FSAL_BAD_INIT;
		goto failed;
	}
	pyg_thread_enter();
	status = pyg_py_create_export(x);
	if (status != ERR_FSAL_NO_ERROR)
		goto failed;
	if (fsal_attach_export(module, &x->export.exports) != 0) {
		pyg_py_close_export(x);
		status = ERR_FSAL_SERVERFAULT;
		goto failed;
	}
	op_ctx->fsal_export = &x->export;
	if (x->xattrs)
		pyg_allow_large_xattrs();
	LogEvent(COMPONENT_FSAL, "PYGANESHA: export %u: serving %s", x->id, x->factory);
	return pyg_status(ERR_FSAL_NO_ERROR);
failed:
	free_export_ops(&x->export);
	free_export(x);
	return pyg_status(status);
}

/* Makes MDCACHE ask anew for what it holds of an inode. Not from inside an operation, whose locks it would wait for. */
int pyg_invalidate(struct pyg_export *x, uint64_t inode, uint64_t generation)
{
	struct pyg_key key = { x->fsid_major, inode, generation };
	uint8_t wire[PYG_WIRE_BYTES];
	struct gsh_buffdesc desc = { .addr = wire, .len = sizeof(wire) };
	struct fsal_up_vector *up_ops = (struct fsal_up_vector *)x->export.up_ops;

	pyg_key_to_wire(&key, wire);
	up_ready_wait(up_ops);
	return up_ops->invalidate(up_ops, &desc, FSAL_UP_INVALIDATE_CACHE).major;
}
