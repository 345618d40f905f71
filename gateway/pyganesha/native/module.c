/* Registration with Ganesha, and the configuration blocks. */
#include "native.h"

struct pyg_module pyg_module = {
	.fsal = {
		.fs_info = {
			.maxfilesize = INT64_MAX,
			.maxlink = INT32_MAX,
			.maxnamelen = 255,
			.maxpathlen = 4096,
			.no_trunc = true,
			.chown_restricted = true,
			.case_preserving = true,
			.link_support = true,
			.symlink_support = true,
			.lock_support = true, /* Ganesha keeps the lock table; see lock_op2 */
			.unique_handles = true,
			.cansettime = true,
			.homogenous = true,
			.supported_attrs = ATTRS_POSIX | ATTR_CREATION | ATTR_GENERATION,
			.maxread = FSAL_MAXIOSIZE,
			.maxwrite = FSAL_MAXIOSIZE,
			.readdir_plus = true,
			.compliant_eof_behavior = true,
			.expire_time_parent = -1,
		},
	},
};

static struct config_item module_items[] = {
	CONF_ITEM_STR("Python", 1, MAXPATHLEN, "/usr/bin/python3", pyg_module, python),
	CONF_ITEM_STR("Path", 1, MAXPATHLEN, NULL, pyg_module, path),
	CONFIG_EOL,
};

static struct config_block module_block = {
	.dbus_interface_name = "org.ganesha.nfsd.config.fsal.pyganesha",
	.blk_desc.name = "PYGANESHA",
	.blk_desc.type = CONFIG_BLOCK,
	.blk_desc.u.blk.init = noop_conf_init,
	.blk_desc.u.blk.params = module_items,
	.blk_desc.u.blk.commit = noop_conf_commit,
};

static struct config_item export_items[] = {
	CONF_ITEM_NOOP("name"),
	CONF_MAND_STR("Factory", 3, 256, NULL, pyg_export, factory),
	CONF_ITEM_STR("Options", 0, 4096, "", pyg_export, options),
	CONFIG_EOL,
};

struct config_block pyg_export_block = {
	.dbus_interface_name = "org.ganesha.nfsd.config.fsal.pyganesha-export%d",
	.blk_desc.name = "FSAL",
	.blk_desc.type = CONFIG_BLOCK,
	.blk_desc.u.blk.init = noop_conf_init,
	.blk_desc.u.blk.params = export_items,
	.blk_desc.u.blk.commit = noop_conf_commit,
};

/* Called while the configuration is read: after daemon() has forked, before any export. */
static fsal_status_t init_config(struct fsal_module *module, config_file_t config, struct config_error_type *errors)
{
	(void)load_config_from_parse(config, &module_block, &pyg_module, true, errors);
	if (!config_error_is_harmless(errors)) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: the block PYGANESHA has errors, no export of it is served");
		return pyg_status(ERR_FSAL_INVAL);
	}
	if (pyg_start_python())
		return pyg_status(ERR_FSAL_INVAL);
	display_fsinfo(module);
	return pyg_status(ERR_FSAL_NO_ERROR);
}

static fsal_status_t (*check_update)(struct fsal_module *, void *, struct config_error_type *, struct fsal_export *, struct fsal_module *);

/* An export stays what it is while its rules change: those are Ganesha's. For each such export of a reload Ganesha 4.3 takes a
 * reference to the module that it never gives back, and complains of them when it ends. */
static fsal_status_t pyg_update_export(struct fsal_module *module, void *parse_node, struct config_error_type *errors,
				       struct fsal_export *original, struct fsal_module *updated_super)
{
	fsal_status_t status = check_update(module, parse_node, errors, original, updated_super);

	if (!FSAL_IS_ERROR(status))
		fsal_put(module);
	return status;
}

MODULE_INIT void pyganesha_load(void)
{
	if (register_fsal(&pyg_module.fsal, "PYGANESHA", FSAL_MAJOR_VERSION, FSAL_MINOR_VERSION, FSAL_ID_NO_PNFS)) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: cannot be registered");
		return;
	}
	pyg_module.fsal.m_ops.init_config = init_config;
	pyg_module.fsal.m_ops.create_export = pyg_create_export;
	check_update = pyg_module.fsal.m_ops.update_export;
	pyg_module.fsal.m_ops.update_export = pyg_update_export;
	fsal_default_obj_ops_init(&pyg_module.ops);
	pyg_object_ops(&pyg_module.ops);
	pyg_open_ops(&pyg_module.ops);
	pyg_io_ops(&pyg_module.ops);
	pyg_sparse_ops(&pyg_module.ops);
}

MODULE_FINI void pyganesha_unload(void)
{
	if (unregister_fsal(&pyg_module.fsal))
		fprintf(stderr, "PYGANESHA: still in use at unload\n");
}
