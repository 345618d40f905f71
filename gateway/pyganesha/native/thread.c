/* Python thread states for Ganesha's threads.
 *
 * PyGILState_Ensure on a thread that Python does not know makes a thread state and PyGILState_Release frees it again: 8 to 10
 * microseconds a call. So each thread gets one at its first call and keeps it until it ends; then `with gil` takes 90 ns.
 */
#include "native.h"

/* A call that answers a read from inside may be entered again by what Ganesha does next. */
static __thread unsigned int calls;

static pthread_key_t thread_key;
static __thread bool thread_entered;

/* Runs as a thread ends. Python's own record of the thread may be gone by now, since thread keys are cleared in the order of
 * their making: the state comes from our key, and PyGILState_* are not used. */
static void thread_ends(void *state)
{
	PyEval_RestoreThread(state);
	PyThreadState_Clear(state);
	PyThreadState_DeleteCurrent(); /* drops the lock */
}

void pyg_thread_init(void)
{
	if (pthread_key_create(&thread_key, thread_ends))
		LogFatal(COMPONENT_FSAL, "PYGANESHA: no thread key left");
}

void pyg_thread_keep(void)
{
	thread_entered = true;
}

void pyg_thread_enter(void)
{
	if (likely(thread_entered))
		return;
	PyGILState_Ensure();
	pthread_setspecific(thread_key, PyEval_SaveThread()); /* drops the lock, keeps the state */
	thread_entered = true;
}

/* Waiting for Python's lock is dear when many do it: each waiter wakes every switch interval to ask for it, and makes its holder
 * drop it half-way. Those beyond Fsal.calls_max wait here instead, asleep. */
void pyg_tell_caller(const struct pyganesha_io *io)
{
	if (io->caller)
		io->caller(io->core, op_ctx ? op_ctx->caller_addr : NULL, op_ctx ? op_ctx->creds.caller_uid : 0);
}

void pyg_enter(struct pyg_export *x)
{
	pyg_thread_enter();
	if (calls++ > 0)
		return;
	if (x->io) {
		pyg_tell_caller(x->io);
		x->io->begin(x->io->core);
	}
	if (x->shared->is_gated)
		while (sem_wait(&x->shared->gate) != 0)
			; /* EINTR */
}

int pyg_leave(struct pyg_export *x, int status)
{
	int rc;

	if (--calls > 0)
		return status;
	if (x->shared->is_gated)
		sem_post(&x->shared->gate);
	if (!x->io)
		return status;
	rc = x->io->settle(x->io->core);
	return rc < 0 && status == ERR_FSAL_NO_ERROR ? (int)pyg_status_of_errno(-rc).major : status;
}
