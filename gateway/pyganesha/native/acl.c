/* Access control lists: ours (docs/formats/acl.md) to Ganesha's, and back.
 *
 * Every inode of an Fsal with lists has one in Ganesha's eyes. Without one of its own that is what its mode comes to: made once for
 * each mode and shared by all, so that it costs no allocation, and there whenever attributes are, so that MDCACHE never asks for
 * it alone. MDCACHE keeps the list it has where it gets none, so a list must never go but for another one.
 */
#include "python_side.h"

#include <sys/stat.h>

#include "nfs4_acls.h"

enum { WHO_USER, WHO_GROUP, WHO_OWNER_AT, WHO_GROUP_AT, WHO_EVERYONE_AT };

#define VERSION 1
#define HEADER_BYTES 4
#define FLAGS (FSAL_ACE_FLAG_INHERIT | FSAL_ACE_FLAG_NO_PROPAGATE | FSAL_ACE_FLAG_INHERITED)
#define ALL 0x1f01ff

struct __attribute__((packed)) entry {
	uint8_t type;
	uint8_t who;
	uint16_t flags;
	uint32_t mask;
	uint32_t id;
};

static fsal_acl_t *made_of(fsal_ace_t *entries, uint32_t count)
{
	fsal_acl_data_t data = { .naces = count, .aces = entries };
	fsal_acl_status_t status;

	return nfs4_acl_new_entry(&data, &status); /* takes the entries in any case */
}

/* --- Of a mode ------------------------------------------------------------------------------------------------------ */

#define READ_BITS FSAL_ACE_PERM_READ_DATA
#define WRITE_BITS (FSAL_ACE_PERM_WRITE_DATA | FSAL_ACE_PERM_APPEND_DATA)
#define EVERYONES (FSAL_ACE_PERM_READ_NAMED_ATTR | FSAL_ACE_PERM_READ_ATTR | FSAL_ACE_PERM_READ_ACL | FSAL_ACE_PERM_SYNCHRONIZE)
#define OWNERS                                                                                                         \
	(EVERYONES | FSAL_ACE_PERM_WRITE_NAMED_ATTR | FSAL_ACE_PERM_WRITE_ATTR | FSAL_ACE_PERM_WRITE_ACL |            \
	 FSAL_ACE_PERM_WRITE_OWNER)

static uint32_t bits_of(uint32_t rwx, bool directory)
{
	return (rwx & 4 ? READ_BITS : 0) | (rwx & 2 ? WRITE_BITS | (directory ? FSAL_ACE_PERM_DELETE_CHILD : 0) : 0) |
	       (rwx & 1 ? FSAL_ACE_PERM_EXECUTE : 0);
}

static uint32_t grants_of(uint32_t rwx, bool directory)
{
	return bits_of(rwx, directory) | EVERYONES | (rwx & 2 ? FSAL_ACE_PERM_WRITE_NAMED_ATTR | FSAL_ACE_PERM_WRITE_ATTR : 0);
}

static void add(fsal_ace_t *entries, uint32_t *count, uint32_t type, uint32_t who, uint32_t mask)
{
	if (mask)
		entries[(*count)++] =
			(fsal_ace_t){ .type = type, .perm = mask, .iflag = FSAL_ACE_IFLAG_SPECIAL_ID, .who.uid = who };
}

/* As gateway.metadata.acl.trivial. */
static fsal_acl_t *of_mode(uint32_t mode, bool directory)
{
	uint32_t owner = bits_of(mode >> 6 & 7, directory), group = bits_of(mode >> 3 & 7, directory);
	uint32_t other = bits_of(mode & 7, directory), count = 0;
	uint32_t full = FSAL_ACE_PERM_DELETE | (owner & WRITE_BITS ? FSAL_ACE_PERM_DELETE_CHILD : 0);
	fsal_ace_t *entries = nfs4_ace_alloc(5);

	add(entries, &count, FSAL_ACE_TYPE_DENY, FSAL_ACE_SPECIAL_OWNER, (group | other) & ~owner);
	add(entries, &count, FSAL_ACE_TYPE_ALLOW, FSAL_ACE_SPECIAL_OWNER, owner | OWNERS | full);
	add(entries, &count, FSAL_ACE_TYPE_DENY, FSAL_ACE_SPECIAL_GROUP, other & ~group);
	add(entries, &count, FSAL_ACE_TYPE_ALLOW, FSAL_ACE_SPECIAL_GROUP, grants_of(mode >> 3 & 7, directory));
	add(entries, &count, FSAL_ACE_TYPE_ALLOW, FSAL_ACE_SPECIAL_EVERYONE, grants_of(mode & 7, directory));
	return made_of(entries, count);
}

/* With a reference for the caller; the first is the table's for ever. */
static fsal_acl_t *shared_of_mode(uint32_t mode, bool directory)
{
	static fsal_acl_t *table[2][512];
	fsal_acl_t **place = &table[directory][mode & 0777];
	fsal_acl_t *acl = __atomic_load_n(place, __ATOMIC_ACQUIRE), *expected = NULL;

	if (!acl) {
		acl = of_mode(mode, directory);
		if (!acl)
			return NULL;
		if (!__atomic_compare_exchange_n(place, &expected, acl, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			nfs4_acl_release_entry(acl);
			acl = expected;
		}
	}
	nfs4_acl_entry_inc_ref(acl);
	return acl;
}

/* --- Of its own ----------------------------------------------------------------------------------------------------- */

static bool parse_entry(const struct entry *e, fsal_ace_t *out)
{
	uint32_t who = e->who;

	if (e->type > FSAL_ACE_TYPE_DENY || who > WHO_EVERYONE_AT)
		return false;
	out->type = e->type;
	out->flag = le16toh(e->flags);
	out->perm = le32toh(e->mask);
	if (who == WHO_GROUP)
		out->flag |= FSAL_ACE_FLAG_GROUP_ID;
	if (who >= WHO_OWNER_AT) {
		out->iflag = FSAL_ACE_IFLAG_SPECIAL_ID;
		out->who.uid = who - WHO_OWNER_AT + FSAL_ACE_SPECIAL_OWNER;
	} else {
		out->who.uid = le32toh(e->id);
	}
	return true;
}

static fsal_acl_t *parse(const char *content, size_t length)
{
	const struct entry *stored = (const struct entry *)(content + HEADER_BYTES);
	size_t count = length > HEADER_BYTES ? (length - HEADER_BYTES) / sizeof(*stored) : 0;
	fsal_ace_t *entries;

	if (!count || content[0] != VERSION)
		return NULL;
	entries = nfs4_ace_alloc(count);
	for (size_t i = 0; i < count; i++) {
		if (!parse_entry(&stored[i], &entries[i])) {
			nfs4_ace_free(entries);
			return NULL;
		}
	}
	return made_of(entries, count);
}

/* The list of an inode, with a reference for the caller. An error: it cannot be told who may do what. */
fsal_status_t pyg_acl_of(struct pyg_export *x, const struct pyganesha_attributes *a, fsal_acl_t **out)
{
	char *content = NULL;
	size_t length = 0;
	int status;

	if (!(a->mode & PYG_MODE_ACL)) {
		*out = shared_of_mode(a->mode, a->kind == S_IFDIR);
		return pyg_status(*out ? ERR_FSAL_NO_ERROR : ERR_FSAL_SERVERFAULT);
	}
	status = PYG_CALL(x, pyg_py_getacl(x, a->inode, &content, &length));
	if (status != ERR_FSAL_NO_ERROR)
		return pyg_status(status);
	*out = parse(content, length);
	gsh_free(content);
	return pyg_status(*out ? ERR_FSAL_NO_ERROR : ERR_FSAL_IO);
}

/* Into attributes that are otherwise complete. One of its own only where it was asked for: it takes a call. Where it cannot be had
 * there is none, and the error says so: who gives attributes out must then not say that they hold a list. */
fsal_status_t pyg_fill_acl(struct pyg_export *x, const struct pyganesha_attributes *a, struct fsal_attrlist *out)
{
	fsal_status_t status;

	if ((a->mode & PYG_MODE_ACL) && !FSAL_TEST_MASK(out->request_mask, ATTR_ACL))
		return pyg_status(ERR_FSAL_NO_ERROR);
	nfs4_acl_release_entry(out->acl);
	out->acl = NULL;
	status = pyg_acl_of(x, a, &out->acl);
	if (!FSAL_IS_ERROR(status)) {
		/* MDCACHE trusts a list only where its mask of what was asked for has it. */
		out->request_mask |= ATTR_ACL;
		out->valid_mask |= ATTR_ACL;
	}
	return status;
}

/* In the place of one that cannot be had, where no error can be given: nobody may anything. */
fsal_acl_t *pyg_acl_of_nobody(void)
{
	fsal_ace_t *entries = nfs4_ace_alloc(1);
	uint32_t count = 0;

	add(entries, &count, FSAL_ACE_TYPE_DENY, FSAL_ACE_SPECIAL_EVERYONE, ALL);
	return made_of(entries, count);
}

/* --- From clients --------------------------------------------------------------------------------------------------- */

/* Whether an entry is for whom Ganesha takes names for that it does not know. All squashed clients are that one: what was meant
 * for somebody else would be theirs. */
static bool is_nobodys(const fsal_ace_t *ace)
{
	if (IS_FSAL_ACE_SPECIAL_ID(*ace))
		return false;
	return IS_FSAL_ACE_GROUP_ID(*ace) ? ace->who.gid == op_ctx->export_perms.anonymous_gid
					 : ace->who.uid == op_ctx->export_perms.anonymous_uid;
}

/* In the form of docs/formats/acl.md; 0 bytes: it is none that Python would take. Ganesha decodes a list without entries as none. */
size_t pyg_acl_to_bytes(const fsal_acl_t *acl, char out[PYG_ACL_BYTES_MAX])
{
	struct entry *entries = (struct entry *)(out + HEADER_BYTES);
	uint32_t count = acl ? acl->naces : 0;

	if (HEADER_BYTES + count * sizeof(*entries) > PYG_ACL_BYTES_MAX)
		return 0;
	out[0] = VERSION;
	out[1] = 0;
	out[2] = count & 0xff;
	out[3] = count >> 8;
	for (uint32_t i = 0; i < count; i++) {
		const fsal_ace_t *ace = &acl->aces[i];
		bool special = IS_FSAL_ACE_SPECIAL_ID(*ace);
		bool group = !special && IS_FSAL_ACE_GROUP_ID(*ace);

		if (ace->type > FSAL_ACE_TYPE_DENY || is_nobodys(ace))
			return 0;
		entries[i] = (struct entry){
			.type = ace->type,
			.who = special ? ace->who.uid - FSAL_ACE_SPECIAL_OWNER + WHO_OWNER_AT : group ? WHO_GROUP : WHO_USER,
			.flags = htole16(ace->flag & FLAGS),
			.mask = htole32(ace->perm & ALL),
			.id = special ? 0 : htole32(ace->who.uid),
		};
	}
	return HEADER_BYTES + count * sizeof(*entries);
}

/* --- What the caller may ---------------------------------------------------------------------------------------------- */

static bool applies(const fsal_ace_t *ace, const struct pyganesha_attributes *a)
{
	if (IS_FSAL_ACE_INHERIT_ONLY(*ace))
		return false;
	if (!IS_FSAL_ACE_SPECIAL_ID(*ace))
		return IS_FSAL_ACE_GROUP_ID(*ace) ? pyg_caller_in_group(ace->who.gid) : op_ctx->creds.caller_uid == ace->who.uid;
	switch (ace->who.uid) {
	case FSAL_ACE_SPECIAL_OWNER:
		return op_ctx->creds.caller_uid == a->uid;
	case FSAL_ACE_SPECIAL_GROUP:
		return pyg_caller_in_group(a->gid);
	default:
		return true;
	}
}

/* Whether a list lets the caller do all of `wanted`. */
bool pyg_acl_allows(const fsal_acl_t *acl, const struct pyganesha_attributes *a, uint32_t wanted)
{
	for (uint32_t i = 0; i < acl->naces && wanted; i++) {
		const fsal_ace_t *ace = &acl->aces[i];

		if (!(ace->perm & wanted) || !applies(ace, a))
			continue;
		if (ace->type != FSAL_ACE_TYPE_ALLOW)
			return false;
		wanted &= ~ace->perm;
	}
	return wanted == 0;
}
