/* A native core for the tests of pyganesha: files of fixed room in memory, served through pyganesha_io.h.
 *
 * An inode is resident once `add` was called. Reads and writes at offsets of 4 MiB and more complete later, on another thread.
 * A zero byte is a hole.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "pyganesha_io.h"

#define FILES 64
#define ROOM (8u << 20)
#define ASYNC_FROM (4u << 20)

struct file {
	uint64_t inode, size;
	char *data;
};

struct job {
	struct file *file;
	uint64_t offset;
	const struct iovec *iov;
	int iovcnt;
	bool is_read;
	pyganesha_done done;
	void *token;
};

static struct file files[FILES];
static int nfiles;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long calls[8], completions, commits_fail;
static int settles_fail;
static long begun;

static struct file *find(uint64_t inode)
{
	for (int i = 0; i < nfiles; i++)
		if (files[i].inode == inode)
			return &files[i];
	return NULL;
}

static size_t transfer(struct file *f, uint64_t offset, const struct iovec *iov, int iovcnt, bool is_read)
{
	size_t total = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < iovcnt; i++) {
		size_t n = iov[i].iov_len, left = ROOM - offset;

		if (is_read)
			left = offset < f->size ? f->size - offset : 0;
		if (n > left)
			n = left;
		if (is_read)
			memcpy(iov[i].iov_base, f->data + offset, n);
		else
			memcpy(f->data + offset, iov[i].iov_base, n);
		offset += n;
		total += n;
	}
	if (!is_read && offset > f->size)
		f->size = offset;
	pthread_mutex_unlock(&lock);
	return total;
}

static void *later(void *argument)
{
	struct job job = *(struct job *)argument;
	struct timespec pause = { .tv_nsec = 2000000 };
	size_t amount;

	free(argument);
	nanosleep(&pause, NULL);
	if (job.offset >= ROOM) {
		job.done(job.token, job.is_read ? -EIO : -EFBIG, 0, false);
		return NULL;
	}
	amount = transfer(job.file, job.offset, job.iov, job.iovcnt, job.is_read);
	__atomic_add_fetch(&completions, 1, __ATOMIC_SEQ_CST);
	job.done(job.token, 0, amount, job.is_read ? job.offset + amount >= job.file->size : true);
	return NULL;
}

static int serve(uint64_t inode, uint64_t offset, const struct iovec *iov, int iovcnt, bool is_read, size_t *amount, bool *eof,
		 pyganesha_done done, void *token)
{
	struct file *f = find(inode);
	pthread_t thread;
	struct job *job;

	__atomic_add_fetch(&calls[is_read ? 0 : 1], 1, __ATOMIC_SEQ_CST);
	if (!f)
		return PYGANESHA_NOT_RESIDENT;
	if (offset < ASYNC_FROM) {
		size_t n = transfer(f, offset, iov, iovcnt, is_read);

		if (is_read) {
			*amount = n;
			*eof = offset + n >= f->size;
		}
		return PYGANESHA_DONE;
	}
	job = malloc(sizeof(*job));
	*job = (struct job){ f, offset, iov, iovcnt, is_read, done, token };
	if (pthread_create(&thread, NULL, later, job)) {
		free(job);
		return -EAGAIN;
	}
	pthread_detach(thread);
	return PYGANESHA_PENDING;
}

static int core_read(void *core, uint64_t inode, uint64_t generation, uint64_t offset, const struct iovec *iov, int iovcnt,
		     size_t *amount, bool *eof, pyganesha_done done, void *token)
{
	return generation == 1 ? serve(inode, offset, iov, iovcnt, true, amount, eof, done, token) : -ESTALE;
}

static int core_write(void *core, uint64_t inode, uint64_t generation, uint64_t offset, const struct iovec *iov, int iovcnt,
		      bool stable, uint32_t uid, pyganesha_done done, void *token)
{
	return generation == 1 ? serve(inode, offset, iov, iovcnt, false, NULL, NULL, done, token) : -ESTALE;
}

static int core_commit(void *core, uint64_t inode, uint64_t generation)
{
	__atomic_add_fetch(&calls[2], 1, __ATOMIC_SEQ_CST);
	return commits_fail ? -EAGAIN : PYGANESHA_DONE;
}

static int core_getattributes(void *core, uint64_t inode, uint64_t generation, struct pyganesha_attributes *out)
{
	struct file *f = find(inode);

	__atomic_add_fetch(&calls[3], 1, __ATOMIC_SEQ_CST);
	if (!f)
		return PYGANESHA_NOT_RESIDENT;
	*out = (struct pyganesha_attributes){ .inode = inode, .generation = 1, .size = f->size, .space_used = f->size,
		.change = calls[1] + 1, .mtime_ns = 1000000000ll * (calls[1] + 1), .kind = 0100000, .mode = 0644, .nlink = 1 };
	return PYGANESHA_DONE;
}

static void core_begin(void *core)
{
	__atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
}

static int core_settle(void *core)
{
	__atomic_sub_fetch(&begun, 1, __ATOMIC_SEQ_CST);
	return settles_fail ? -EIO : PYGANESHA_DONE;
}

static int core_seek(void *core, uint64_t inode, uint64_t generation, uint64_t offset, bool hole, uint64_t *found, bool *eof)
{
	struct file *f = find(inode);
	uint64_t at = offset;

	__atomic_add_fetch(&calls[4], 1, __ATOMIC_SEQ_CST);
	if (!f)
		return PYGANESHA_NOT_RESIDENT;
	if (offset >= f->size)
		return -ENXIO;
	while (at < f->size && (f->data[at] == 0) != hole)
		at++;
	*found = at;
	*eof = at == f->size;
	return PYGANESHA_DONE;
}

static int core_allocate(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length, uint32_t uid)
{
	struct file *f = find(inode);

	__atomic_add_fetch(&calls[5], 1, __ATOMIC_SEQ_CST);
	if (!f)
		return PYGANESHA_NOT_RESIDENT;
	if (length > ROOM || offset > ROOM - length)
		return -ENOSPC;
	if (offset + length > f->size)
		f->size = offset + length;
	return PYGANESHA_DONE;
}

static int core_deallocate(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length, uint32_t uid)
{
	struct file *f = find(inode);

	__atomic_add_fetch(&calls[6], 1, __ATOMIC_SEQ_CST);
	if (!f)
		return PYGANESHA_NOT_RESIDENT;
	if (offset < f->size)
		memset(f->data + offset, 0, length < f->size - offset ? length : f->size - offset);
	return PYGANESHA_DONE;
}

static int core_will_need(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length)
{
	__atomic_add_fetch(&calls[7], 1, __ATOMIC_SEQ_CST);
	if (offset > ROOM)
		return -EINVAL;
	return find(inode) ? PYGANESHA_DONE : PYGANESHA_NOT_RESIDENT;
}

static struct pyganesha_io io = { PYGANESHA_IO_ABI, sizeof(io), NULL, core_read, core_write, core_commit, core_getattributes,
	core_seek, core_allocate, core_deallocate, core_will_need, core_begin, core_settle };

static PyObject *py_capsule(PyObject *self, PyObject *none)
{
	return PyCapsule_New(&io, PYGANESHA_IO_NAME, NULL);
}

static PyObject *py_add(PyObject *self, PyObject *arg)
{
	struct file *f = &files[nfiles];

	if (nfiles == FILES)
		return PyErr_NoMemory();
	f->inode = PyLong_AsUnsignedLongLong(arg);
	f->data = calloc(1, ROOM);
	nfiles++;
	Py_RETURN_NONE;
}

static PyObject *py_fail_commits(PyObject *self, PyObject *arg)
{
	commits_fail = PyObject_IsTrue(arg);
	Py_RETURN_NONE;
}

static PyObject *py_fail_settles(PyObject *self, PyObject *arg)
{
	settles_fail = PyObject_IsTrue(arg);
	Py_RETURN_NONE;
}

/* Operations that were begun and are not settled yet. */
static PyObject *py_begun(PyObject *self, PyObject *none)
{
	return PyLong_FromLong(begun);
}

static PyObject *py_counts(PyObject *self, PyObject *none)
{
	return Py_BuildValue("kkkkkkkkk", calls[0], calls[1], calls[2], calls[3], completions, calls[4], calls[5], calls[6], calls[7]);
}

/* Sleeps with Python's lock held. */
static PyObject *py_hold(PyObject *self, PyObject *arg)
{
	double s = PyFloat_AsDouble(arg);
	struct timespec t = { .tv_sec = (time_t)s, .tv_nsec = (long)((s - (time_t)s) * 1e9) };

	nanosleep(&t, NULL);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = { { "capsule", py_capsule, METH_NOARGS }, { "add", py_add, METH_O },
	{ "counts", py_counts, METH_NOARGS }, { "hold", py_hold, METH_O }, { "fail_commits", py_fail_commits, METH_O },
	{ "fail_settles", py_fail_settles, METH_O }, { "begun", py_begun, METH_NOARGS }, { NULL } };
static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, "pyganesha_test_core", NULL, -1, methods };

PyMODINIT_FUNC PyInit_pyganesha_test_core(void)
{
	return PyModule_Create(&module);
}
