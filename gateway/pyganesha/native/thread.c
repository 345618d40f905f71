/* Python thread states for Ganesha's threads.
 *
 * PyGILState_Ensure on a thread that Python does not know makes a thread state and PyGILState_Release frees it again: 8 to 10
 * microseconds a call. So each thread gets one at its first call and keeps it until it ends; then `with gil` takes 90 ns.
 */
#include "native.h"

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
