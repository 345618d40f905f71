/* What the exports of one file system share: which of its inodes are open, and how many calls of its methods are under way.
 *
 * Exports come and go while others serve. A file that is open through one of them is open for all: its last name may be
 * removed through another.
 */
#include "native.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pyg_shared *first;

void pyg_share(struct pyg_export *x, unsigned int calls_max)
{
	struct pyg_shared *s;

	PTHREAD_MUTEX_lock(&lock);
	for (s = first; s && s->fsid_major != x->fsid_major;)
		s = s->next;
	if (!s) {
		s = gsh_calloc(1, sizeof(*s));
		s->fsid_major = x->fsid_major;
		s->is_gated = calls_max > 0 && sem_init(&s->gate, 0, calls_max) == 0;
		pyg_opens_init(&s->opens);
		s->next = first;
		first = s;
	}
	s->exports++;
	x->shared = s;
	PTHREAD_MUTEX_unlock(&lock);
}

void pyg_unshare(struct pyg_export *x)
{
	struct pyg_shared *s = x->shared, **at;

	if (!s)
		return;
	x->shared = NULL;
	PTHREAD_MUTEX_lock(&lock);
	if (--s->exports == 0) {
		for (at = &first; *at != s;)
			at = &(*at)->next;
		*at = s->next;
		pyg_opens_fini(&s->opens);
		if (s->is_gated)
			sem_destroy(&s->gate);
		gsh_free(s);
	}
	PTHREAD_MUTEX_unlock(&lock);
}
