/* Permissions that Ganesha leaves to the FSAL: who may make and remove names, and which changes take set-id bits away.
 *
 * Ganesha checks access to files, look-ups, listings, links and setattr itself; FSALs over a local file system act with the
 * caller's credentials and let the kernel check the rest. There is no kernel below this one. Rules are Linux's.
 */
#include "native.h"

#include <sys/stat.h>

static bool is_root(void)
{
	return op_ctx->creds.caller_uid == 0;
}

static bool in_group(uint32_t gid)
{
	if (op_ctx->creds.caller_gid == gid)
		return true;
	for (unsigned int i = 0; i < op_ctx->creds.caller_glen; i++)
		if (op_ctx->creds.caller_garray[i] == gid)
			return true;
	return false;
}

/* `wanted`: bits of rwx, 4 2 1. */
static bool allowed(const struct pyganesha_attributes *a, uint32_t wanted)
{
	uint32_t bits = a->mode;

	if (op_ctx->creds.caller_uid == a->uid)
		bits >>= 6;
	else if (in_group(a->gid))
		bits >>= 3;
	return (bits & wanted) == wanted;
}

static bool sticky_forbids(const struct pyganesha_attributes *directory, const struct pyganesha_attributes *victim)
{
	uint32_t uid = op_ctx->creds.caller_uid;

	return (directory->mode & S_ISVTX) && uid != directory->uid && uid != victim->uid;
}

/* Whether the caller may make names in a directory. `out`, unless NULL: its attributes, for others than root. */
fsal_status_t pyg_may_enter(struct pyg_export *x, const struct pyg_object *directory, struct pyganesha_attributes *out)
{
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &directory->key, &a);
	if (FSAL_IS_ERROR(status))
		return status;
	if (!allowed(&a, 3))
		return pyg_status(ERR_FSAL_ACCESS);
	if (out)
		*out = a;
	return status;
}

fsal_status_t pyg_may_remove(struct pyg_export *x, const struct pyg_object *directory, const struct pyg_key *victim)
{
	struct pyganesha_attributes parent, a;
	fsal_status_t status;

	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_may_enter(x, directory, &parent);
	if (FSAL_IS_ERROR(status) || !(parent.mode & S_ISVTX))
		return status;
	status = pyg_get_attributes(x, victim, &a);
	if (!FSAL_IS_ERROR(status) && sticky_forbids(&parent, &a))
		status = pyg_status(ERR_FSAL_PERM);
	return status;
}

/* A directory that moves gets another "..": that is a write to it. */
fsal_status_t pyg_may_move(struct pyg_export *x, const struct pyg_object *moved)
{
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (is_root() || moved->handle.type != DIRECTORY)
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &moved->key, &a);
	if (!FSAL_IS_ERROR(status) && !allowed(&a, 2))
		status = pyg_status(ERR_FSAL_ACCESS);
	return status;
}

fsal_status_t pyg_may_write(const struct pyganesha_attributes *a)
{
	return pyg_status(is_root() || allowed(a, 2) ? ERR_FSAL_NO_ERROR : ERR_FSAL_ACCESS);
}

/* Whether the caller may make an object with such attributes: a device takes root, and nobody else gives away what he makes.
 * Of files Ganesha checks the owner itself. */
fsal_status_t pyg_may_make(object_file_type_t type, const struct pyg_set_attributes *set)
{
	bool device = type == BLOCK_FILE || type == CHARACTER_FILE;
	bool owner = (set->mask & PYG_SET_UID) && set->uid != op_ctx->creds.caller_uid;
	bool group = (set->mask & PYG_SET_GID) && !in_group(set->gid);

	return pyg_status(!is_root() && (device || owner || group) ? ERR_FSAL_PERM : ERR_FSAL_NO_ERROR);
}

/* Attributes of users follow the rules of contents. Linux gives them to files and directories only, since the permissions of
 * other kinds are no access to storage, and in a sticky directory only to its owner. */
fsal_status_t pyg_may_use_xattrs(struct pyg_export *x, const struct pyg_object *o, uint32_t wanted)
{
	object_file_type_t type = o->handle.type;
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (type != REGULAR_FILE && type != DIRECTORY)
		return pyg_status(wanted & 2 ? ERR_FSAL_PERM : ERR_FSAL_NOXATTR);
	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &o->key, &a);
	if (FSAL_IS_ERROR(status))
		return status;
	if (type == DIRECTORY && (wanted & 2) && (a.mode & S_ISVTX) && op_ctx->creds.caller_uid != a.uid)
		return pyg_status(ERR_FSAL_PERM);
	return pyg_status(allowed(&a, wanted) ? ERR_FSAL_NO_ERROR : ERR_FSAL_ACCESS);
}

/* Mode bits that a change takes away from a file: another owner or group takes set-id bits, so does another size by others than
 * root; nobody but root gives a set-group-id bit to a group that is not his own. */
fsal_status_t pyg_drop_set_id(struct pyg_export *x, const struct pyg_object *o, struct pyg_set_attributes *set)
{
	bool owner = set->mask & (PYG_SET_UID | PYG_SET_GID);
	bool mode = set->mask & PYG_SET_MODE;
	struct pyganesha_attributes a;
	fsal_status_t status;
	uint32_t group;

	if (o->handle.type == DIRECTORY ? is_root() || !mode : !owner && (is_root() || !(set->mask & (PYG_SET_SIZE | PYG_SET_MODE))))
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &o->key, &a);
	if (FSAL_IS_ERROR(status))
		return status;
	group = set->mask & PYG_SET_GID ? set->gid : a.gid;
	if (mode) {
		if (!is_root() && !in_group(group))
			set->mode &= ~S_ISGID;
	} else if (a.mode & (S_ISUID | S_ISGID)) {
		set->mask |= PYG_SET_MODE;
		set->mode = a.mode & ~S_ISUID;
		if (set->mode & S_IXGRP) /* without it the bit means mandatory locks */
			set->mode &= ~S_ISGID;
	}
	return status;
}
