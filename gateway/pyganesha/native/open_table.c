/* Which inodes are open, with which share reservations, and which of them have lost their last name.
 *
 * The table goes by inode and not by handle: MDCACHE may drop a handle and make another while states of the first one live.
 */
#include "native.h"

struct pyg_open {
	struct pyg_open *next;
	uint64_t inode;
	uint32_t opens;
	bool orphan;
	struct fsal_share share;
};

#define DENIES (FSAL_O_DENY_READ | FSAL_O_DENY_WRITE | FSAL_O_DENY_WRITE_MAND)

void pyg_opens_init(struct pyg_open_table *t)
{
	memset(t, 0, sizeof(*t));
	for (int i = 0; i < PYG_OPEN_BUCKETS; i++)
		PTHREAD_MUTEX_init(&t->buckets[i].lock, NULL);
}

void pyg_opens_fini(struct pyg_open_table *t)
{
	for (int i = 0; i < PYG_OPEN_BUCKETS; i++) {
		for (struct pyg_open *o = t->buckets[i].first, *next; o; o = next) {
			next = o->next;
			gsh_free(o);
		}
		PTHREAD_MUTEX_destroy(&t->buckets[i].lock);
	}
}

static struct pyg_open_bucket *bucket_of(struct pyg_open_table *t, uint64_t inode)
{
	return &t->buckets[(inode * 0x9e3779b97f4a7c15ull) >> 56];
}

static struct pyg_open **find(struct pyg_open_bucket *b, uint64_t inode)
{
	struct pyg_open **at = &b->first;

	while (*at && (*at)->inode != inode)
		at = &(*at)->next;
	return at;
}

static void count_denials(struct pyg_open_table *t, fsal_openflags_t from, fsal_openflags_t to)
{
	int change = ((to & DENIES) != 0) - ((from & DENIES) != 0);

	if (change)
		__atomic_add_fetch(&t->denials, change, __ATOMIC_SEQ_CST);
}

/* From CLOSED it is an open, else an upgrade or downgrade of one. A conflict leaves everything as it was. */
fsal_status_t pyg_opens_change(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t from, fsal_openflags_t to)
{
	struct pyg_open_bucket *b = bucket_of(t, inode);
	struct pyg_open **at, *o;
	struct fsal_share none = { 0 };
	fsal_status_t status;

	PTHREAD_MUTEX_lock(&b->lock);
	at = find(b, inode);
	o = *at;
	if (o)
		update_share_counters(&o->share, from, FSAL_O_CLOSED); /* one's own open is no conflict */
	status = check_share_conflict(o ? &o->share : &none, to, false);
	if (FSAL_IS_ERROR(status)) {
		if (o)
			update_share_counters(&o->share, FSAL_O_CLOSED, from);
		goto out;
	}
	if (!o) {
		o = gsh_calloc(1, sizeof(*o));
		o->inode = inode;
		*at = o;
		__atomic_add_fetch(&t->inodes, 1, __ATOMIC_SEQ_CST);
	}
	if (from == FSAL_O_CLOSED)
		o->opens++;
	update_share_counters(&o->share, FSAL_O_CLOSED, to);
	count_denials(t, from, to);
out:
	PTHREAD_MUTEX_unlock(&b->lock);
	return status;
}

bool pyg_opens_release(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t flags)
{
	struct pyg_open_bucket *b = bucket_of(t, inode);
	struct pyg_open **at, *o;
	bool orphan = false;

	PTHREAD_MUTEX_lock(&b->lock);
	at = find(b, inode);
	o = *at;
	if (o) {
		update_share_counters(&o->share, flags, FSAL_O_CLOSED);
		count_denials(t, flags, FSAL_O_CLOSED);
		if (--o->opens == 0) {
			orphan = o->orphan;
			*at = o->next;
			gsh_free(o);
			__atomic_sub_fetch(&t->inodes, 1, __ATOMIC_SEQ_CST);
		}
	}
	PTHREAD_MUTEX_unlock(&b->lock);
	return orphan;
}

fsal_status_t pyg_opens_check(struct pyg_open_table *t, uint64_t inode, fsal_openflags_t wanted, bool bypass)
{
	struct pyg_open_bucket *b = bucket_of(t, inode);
	struct pyg_open *o;
	fsal_status_t status = pyg_status(ERR_FSAL_NO_ERROR);

	if (likely(__atomic_load_n(&t->denials, __ATOMIC_SEQ_CST) == 0))
		return status;
	PTHREAD_MUTEX_lock(&b->lock);
	o = *find(b, inode);
	if (o)
		status = check_share_conflict(&o->share, wanted, bypass);
	PTHREAD_MUTEX_unlock(&b->lock);
	return status;
}

bool pyg_opens_is_open(struct pyg_open_table *t, uint64_t inode)
{
	struct pyg_open_bucket *b = bucket_of(t, inode);
	bool found;

	if (__atomic_load_n(&t->inodes, __ATOMIC_SEQ_CST) == 0)
		return false;
	PTHREAD_MUTEX_lock(&b->lock);
	found = *find(b, inode) != NULL;
	PTHREAD_MUTEX_unlock(&b->lock);
	return found;
}

bool pyg_opens_mark_orphan(struct pyg_open_table *t, uint64_t inode)
{
	struct pyg_open_bucket *b = bucket_of(t, inode);
	struct pyg_open *o;

	PTHREAD_MUTEX_lock(&b->lock);
	o = *find(b, inode);
	if (o)
		o->orphan = true;
	PTHREAD_MUTEX_unlock(&b->lock);
	return o != NULL;
}

bool pyg_export_mark_orphan(struct pyg_export *x, uint64_t inode)
{
	return pyg_opens_mark_orphan(&x->shared->opens, inode);
}

struct fsal_fd *pyg_fd_of(struct state_t *state)
{
	return (struct fsal_fd *)(state + 1); /* alloc_state left the room */
}

fsal_status_t pyg_may_access(struct pyg_export *x, struct pyg_object *o, struct state_t *state, fsal_openflags_t wanted, bool bypass)
{
	if (state && (pyg_fd_of(state)->openflags & wanted) == wanted)
		return pyg_status(ERR_FSAL_NO_ERROR);
	return pyg_opens_check(&x->shared->opens, o->key.inode, wanted, bypass);
}
