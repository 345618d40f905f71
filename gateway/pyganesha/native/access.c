/* Permissions that Ganesha leaves to the FSAL: who may make and remove names, and which changes take set-id bits away.
 *
 * Ganesha checks access to files, look-ups, listings, links and setattr itself; FSALs over a local file system act with the
 * caller's credentials and let the kernel check the rest. There is no kernel below this one. Rules are Linux's.
 */
#include "native.h"

#include <sys/stat.h>

#include "nfs4_acls.h"

static bool is_root(void)
{
	return op_ctx->creds.caller_uid == 0;
}

bool pyg_caller_in_group(uint32_t gid)
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
	else if (pyg_caller_in_group(a->gid))
		bits >>= 3;
	return (bits & wanted) == wanted;
}

static bool sticky_forbids(const struct pyganesha_attributes *directory, const struct pyganesha_attributes *victim)
{
	uint32_t uid = op_ctx->creds.caller_uid;

	return (directory->mode & S_ISVTX) && uid != directory->uid && uid != victim->uid;
}

/* `wanted` as of `allowed`, where the mode says it; `access` what that is where a list does. */
static fsal_status_t check(struct pyg_export *x, const struct pyganesha_attributes *a, uint32_t wanted, uint32_t access)
{
	fsal_acl_t *acl;
	fsal_status_t status;
	bool may;

	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	if (!(a->mode & PYG_MODE_ACL))
		return pyg_status(allowed(a, wanted) ? ERR_FSAL_NO_ERROR : ERR_FSAL_ACCESS);
	status = pyg_acl_of(x, a, &acl);
	if (FSAL_IS_ERROR(status))
		return status;
	may = pyg_acl_allows(acl, a, access);
	nfs4_acl_release_entry(acl);
	return pyg_status(may ? ERR_FSAL_NO_ERROR : ERR_FSAL_ACCESS);
}

/* Whether the caller may make names of objects of a type in a directory. */
fsal_status_t pyg_may_enter(struct pyg_export *x, const struct pyg_object *directory, object_file_type_t made)
{
	uint32_t adds = made == DIRECTORY ? FSAL_ACE_PERM_ADD_SUBDIRECTORY : FSAL_ACE_PERM_ADD_FILE;
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &directory->key, &a);
	return FSAL_IS_ERROR(status) ? status : check(x, &a, 3, FSAL_ACE_PERM_EXECUTE | adds);
}

/* Whoever may not take names out of a directory may take one whose object has a list that lets him delete it (RFC 8881, 6.2.1.3.2).
 * Where the directory's list lets him make names, the owner has that of an object without one. */
static bool own_list_lets_go(struct pyg_export *x, const struct pyganesha_attributes *directory,
			     const struct pyganesha_attributes *victim)
{
	if (victim->mode & PYG_MODE_ACL)
		return !FSAL_IS_ERROR(check(x, directory, 1, FSAL_ACE_PERM_EXECUTE)) &&
		       !FSAL_IS_ERROR(check(x, victim, 0, FSAL_ACE_PERM_DELETE));
	return (directory->mode & PYG_MODE_ACL) && op_ctx->creds.caller_uid == victim->uid &&
	       !FSAL_IS_ERROR(check(x, directory, 3, FSAL_ACE_PERM_EXECUTE | FSAL_ACE_PERM_ADD_FILE));
}

fsal_status_t pyg_may_remove(struct pyg_export *x, const struct pyg_object *directory, const struct pyg_key *victim)
{
	struct pyganesha_attributes parent, a;
	fsal_status_t may, status;

	if (is_root())
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &directory->key, &parent);
	if (FSAL_IS_ERROR(status))
		return status;
	may = check(x, &parent, 3, FSAL_ACE_PERM_EXECUTE | FSAL_ACE_PERM_DELETE_CHILD);
	if (FSAL_IS_ERROR(may) ? may.major != ERR_FSAL_ACCESS || !x->acls : !(parent.mode & S_ISVTX))
		return may;
	status = pyg_get_attributes(x, victim, &a);
	if (FSAL_IS_ERROR(status))
		return FSAL_IS_ERROR(may) ? may : status;
	if (FSAL_IS_ERROR(may) && !own_list_lets_go(x, &parent, &a))
		return may;
	return pyg_status(sticky_forbids(&parent, &a) ? ERR_FSAL_PERM : ERR_FSAL_NO_ERROR);
}

/* A directory that moves gets another "..": that is a write to it. */
fsal_status_t pyg_may_move(struct pyg_export *x, const struct pyg_object *moved)
{
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (is_root() || moved->handle.type != DIRECTORY)
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &moved->key, &a);
	return FSAL_IS_ERROR(status) ? status : check(x, &a, 2, FSAL_ACE_PERM_ADD_SUBDIRECTORY);
}

fsal_status_t pyg_may_write(struct pyg_export *x, const struct pyganesha_attributes *a)
{
	return check(x, a, 2, FSAL_ACE_PERM_WRITE_DATA);
}

/* Whether the caller may make an object with such attributes: a device takes root, and nobody else gives away what he makes.
 * Of files Ganesha checks the owner itself. */
fsal_status_t pyg_may_make(object_file_type_t type, const struct pyg_set_attributes *set)
{
	bool device = type == BLOCK_FILE || type == CHARACTER_FILE;
	bool owner = (set->mask & PYG_SET_UID) && set->uid != op_ctx->creds.caller_uid;
	bool group = (set->mask & PYG_SET_GID) && !pyg_caller_in_group(set->gid);

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
	/* As Ganesha answers ACCESS. */
	return check(x, &a, wanted, wanted & 2 ? FSAL_ACE_PERM_WRITE_DATA : FSAL_ACE_PERM_READ_DATA);
}

/* Times other than the server's are the owner's to set, unless a list gives that to others. Ganesha goes by the list that a mode
 * comes to, which gives it to all who may write: SMB clients could not open for writing else. */
fsal_status_t pyg_may_set_times(struct pyg_export *x, const struct pyg_object *o, const struct pyg_set_attributes *set)
{
	struct pyganesha_attributes a;
	fsal_status_t status;

	if (is_root() || !(set->mask & (PYG_SET_ATIME | PYG_SET_MTIME)))
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &o->key, &a);
	if (!FSAL_IS_ERROR(status) && !(a.mode & PYG_MODE_ACL) && op_ctx->creds.caller_uid != a.uid)
		status = pyg_status(ERR_FSAL_PERM);
	return status;
}

/* Mode bits that a change takes away from a file: another owner or group takes set-id bits, so does another size by others than
 * root; nobody but root gives a set-group-id bit to a group that is not his own. Who is not the owner, but may change the list
 * because a list says so, makes nothing run as the owner: he gives no set-id bits with a mode, and takes them with a list. */
fsal_status_t pyg_drop_set_id(struct pyg_export *x, const struct pyg_object *o, struct pyg_set_attributes *set)
{
	bool owner = set->mask & (PYG_SET_UID | PYG_SET_GID);
	bool mode = set->mask & PYG_SET_MODE;
	uint32_t others = PYG_SET_SIZE | PYG_SET_MODE | PYG_SET_ACL;
	struct pyganesha_attributes a;
	fsal_status_t status;
	uint32_t group;
	bool owns;

	if (o->handle.type == DIRECTORY ? is_root() || !mode : !owner && (is_root() || !(set->mask & others)))
		return pyg_status(ERR_FSAL_NO_ERROR);
	status = pyg_get_attributes(x, &o->key, &a);
	if (FSAL_IS_ERROR(status))
		return status;
	group = set->mask & PYG_SET_GID ? set->gid : a.gid;
	owns = is_root() || op_ctx->creds.caller_uid == a.uid;
	if (mode) {
		if (!is_root() && !pyg_caller_in_group(group))
			set->mode &= ~S_ISGID;
		if (!owns)
			set->mode &= ~(S_ISUID | S_ISGID);
	} else if (!owner && !(set->mask & PYG_SET_SIZE) && owns) {
		/* A list of the owner's own. */
	} else if (a.mode & (S_ISUID | S_ISGID)) {
		set->mask |= PYG_SET_MODE;
		set->mode = a.mode & ~S_ISUID;
		if (set->mode & S_IXGRP) /* without it the bit means mandatory locks */
			set->mode &= ~S_ISGID;
	}
	return status;
}
