/* Data: through the native core without Python's lock where the file system has one, else through its Python methods. */
#include "python_side.h"

#include "nfs_proto_data.h"

struct pyg_io_call {
	struct pyg_export *export;
	struct pyg_object *object;
	fsal_async_cb callback;
	struct fsal_io_arg *arg;
	void *caller_arg;
	struct gsh_export *context; /* the op context of the request is gone by the time of an asynchronous completion */
	uint32_t uid; /* the caller's: of a delayed request the op context is not there when it goes on */
	bool is_read;
};

/* The call of this thread that did not become asynchronous, for its next one: a hit allocates nothing. */
static __thread struct pyg_io_call *spare_call;

static struct pyg_io_call *new_call(struct pyg_object *o, fsal_async_cb callback, struct fsal_io_arg *arg, void *caller_arg, bool is_read)
{
	struct pyg_io_call *call = spare_call ? spare_call : gsh_malloc(sizeof(*call));

	spare_call = NULL;
	*call = (struct pyg_io_call){
		.export = pyg_current_export(),
		.object = o,
		.callback = callback,
		.arg = arg,
		.caller_arg = caller_arg,
		.context = op_ctx->ctx_export,
		.uid = op_ctx->creds.caller_uid,
		.is_read = is_read,
	};
	return call;
}

static void drop_call(struct pyg_io_call *call)
{
	if (spare_call)
		gsh_free(call);
	else
		spare_call = call;
}

static void fill_result(struct pyg_export *x, struct fsal_io_arg *arg, bool is_read, size_t amount, bool flag)
{
	struct pyg_usage *usage = &x->usage;

	arg->io_amount = amount;
	if (is_read)
		arg->end_of_file = flag;
	else
		arg->fsal_stable = flag;
	__atomic_add_fetch(is_read ? &usage->reads : &usage->writes, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(is_read ? &usage->read_bytes : &usage->written_bytes, amount, __ATOMIC_RELAXED);
}

/* Completes on the thread that made the call, inside of Ganesha's request. */
static void complete_here(struct pyg_io_call *call, fsal_status_t status)
{
	struct pyg_io_call done = *call;

	drop_call(call);
	done.callback(&done.object->handle, status, done.arg, done.caller_arg);
}

/* Completes from anywhere: Ganesha's callback needs an op context, with a reference to the export, and no Python lock. */
static void complete_elsewhere(struct pyg_io_call *call, fsal_status_t status)
{
	struct pyg_io_call done = *call;
	struct req_op_context context;

	gsh_free(call);
	get_gsh_export_ref(done.context);
	init_op_context_simple(&context, done.context, &done.export->export);
	done.callback(&done.object->handle, status, done.arg, done.caller_arg);
	release_op_context();
}

static void core_done(void *token, int error, size_t amount, bool flag)
{
	struct pyg_io_call *call = token;
	fsal_status_t status = error ? pyg_status_of_errno(-error) : pyg_status(ERR_FSAL_NO_ERROR);

	if (!error)
		fill_result(call->export, call->arg, call->is_read, amount, flag);
	complete_elsewhere(call, status);
}

void pyg_io_complete(struct pyg_io_call *call, int status, size_t amount, bool flag)
{
	if (status == ERR_FSAL_NO_ERROR)
		fill_result(call->export, call->arg, call->is_read, amount, flag);
	complete_elsewhere(call, pyg_status(status));
}

static size_t bytes_of(const struct fsal_io_arg *arg)
{
	size_t bytes = 0;

	for (int i = 0; i < arg->iov_count; i++)
		bytes += arg->iov[i].iov_len;
	return bytes;
}

/* One attempt at the core. Of `amount` and `flag` only a DONE one's count. */
static int ask_core(struct pyg_io_call *call, size_t *amount, bool *flag)
{
	const struct pyganesha_io *io = call->export->io;
	const struct pyg_key *key = &call->object->key;
	struct fsal_io_arg *arg = call->arg;

	if (call->is_read)
		return io->read(io->core, key->inode, key->generation, arg->offset, arg->iov, arg->iov_count, amount, flag,
				core_done, call);
	*amount = bytes_of(arg);
	*flag = arg->fsal_stable; /* a stable write is DONE only when durable */
	return io->write(io->core, key->inode, key->generation, arg->offset, arg->iov, arg->iov_count, arg->fsal_stable,
			 call->uid, core_done, call);
}

/* `complete`: complete_here inside of the request, complete_elsewhere after a delay. */
static void io_by_core(struct pyg_io_call *call, void (*complete)(struct pyg_io_call *, fsal_status_t))
{
	const struct pyg_key key = call->object->key;
	struct pyg_export *x = call->export;
	fsal_status_t status = pyg_status(ERR_FSAL_DELAY);

	for (int attempt = 0; attempt < PYG_LOAD_ATTEMPTS; attempt++) {
		size_t amount = 0;
		bool flag = false;
		int rc = ask_core(call, &amount, &flag);

		if (rc == PYGANESHA_PENDING)
			return; /* the call may be gone already */
		if (rc == PYGANESHA_DONE) {
			fill_result(call->export, call->arg, call->is_read, amount, flag);
			status = pyg_status(ERR_FSAL_NO_ERROR);
			break;
		}
		if (rc != PYGANESHA_NOT_RESIDENT) {
			status = pyg_status_of_errno(-rc);
			break;
		}
		rc = PYG_CALL(x, pyg_py_load(x, key.inode, key.generation));
		if (rc != ERR_FSAL_NO_ERROR) {
			status = pyg_status(rc);
			break;
		}
	}
	complete(call, status);
}

static void go_on(void *token)
{
	io_by_core(token, complete_elsewhere);
}

/* The caller's address in 16 bytes, IPv4 in its mapped form; zeros where Ganesha itself asks. */
static void client_address(uint8_t out[16])
{
	const sockaddr_t *from = op_ctx->caller_addr;

	memset(out, 0, 16);
	if (!from)
		return;
	if (from->ss_family == AF_INET6) {
		memcpy(out, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	} else if (from->ss_family == AF_INET) {
		out[10] = out[11] = 0xff;
		memcpy(out + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	}
}

static void io_when_admitted(struct pyg_io_call *call)
{
	const struct pyganesha_gate *gate = call->export->gate;
	uint8_t client[16];
	int rc;

	pyg_tell_caller(call->export->io); /* the gate passes it on to the thread on which a delayed call goes on */
	if (gate) {
		client_address(client);
		rc = gate->admit(gate->gate, call->export->id, client, call->is_read, bytes_of(call->arg), go_on, call);
		if (rc == PYGANESHA_PENDING)
			return; /* the call may be gone already */
		if (rc < 0) {
			complete_here(call, pyg_status_of_errno(-rc));
			return;
		}
	}
	io_by_core(call, complete_here);
}

static void read_by_python(struct pyg_io_call *call)
{
	struct pyg_export *x = call->export; /* an asynchronous call may be gone when its method returns */
	struct fsal_io_arg *arg = call->arg;
	uint64_t inode = call->object->key.inode;
	size_t amount = 0;
	bool eof = false;
	int status;

	if (call->export->reads_async && arg->iov_count == 1) {
		status = PYG_CALL(x, pyg_py_read_async(x, inode, arg->offset, arg->iov, call));
		if (status == ERR_FSAL_NO_ERROR)
			return; /* the call belongs to the ReadRequest now */
	} else {
		status = PYG_CALL(x, pyg_py_read(x, inode, arg->offset, arg->iov, arg->iov_count, &amount, &eof));
	}
	if (status == ERR_FSAL_NO_ERROR)
		fill_result(x, arg, true, amount, eof);
	complete_here(call, pyg_status(status));
}

static void write_by_python(struct pyg_io_call *call)
{
	struct fsal_io_arg *arg = call->arg;
	struct pyg_caller caller;
	size_t amount = 0;
	bool stable = false;
	int status;

	pyg_fill_caller(&caller);
	status = PYG_CALL(call->export, pyg_py_write(call->export, call->object->key.inode, arg->offset, arg->iov, arg->iov_count,
						     arg->fsal_stable, &caller, &amount, &stable));
	if (status == ERR_FSAL_NO_ERROR)
		fill_result(call->export, arg, false, amount, stable);
	complete_here(call, pyg_status(status));
}

/* READ_PLUS. It comes as a read like any other, since Ganesha 4.3 leaves `info` NULL, and then answers from a struct that nobody
 * has filled in: an empty piece of data, whatever the file holds. A client that is refused asks with READ. What operation it is
 * only the request around the op context knows; contexts without a caller are Ganesha's own, and in no request. */
static bool is_read_plus(void)
{
	const compound_data_t *data;

	if (op_ctx->req_type != NFS_REQUEST || op_ctx->nfs_vers != NFS_V4 || !op_ctx->caller_addr)
		return false;
	data = container_of(op_ctx, nfs_request_t, op_context)->proc_data;
	return data && data->opcode == NFS4_OP_READ_PLUS;
}

static void read2(struct fsal_obj_handle *handle, bool bypass, fsal_async_cb callback, struct fsal_io_arg *arg, void *caller_arg)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status;

	if (arg->info || is_read_plus()) {
		callback(handle, pyg_status(ERR_FSAL_NOTSUPP), arg, caller_arg);
		return;
	}
	status = pyg_may_access(x, o, arg->state, FSAL_O_READ, bypass);
	if (FSAL_IS_ERROR(status)) {
		callback(handle, status, arg, caller_arg);
		return;
	}
	if (x->io)
		io_when_admitted(new_call(o, callback, arg, caller_arg, true));
	else
		read_by_python(new_call(o, callback, arg, caller_arg, true));
}

static void write2(struct fsal_obj_handle *handle, bool bypass, fsal_async_cb callback, struct fsal_io_arg *arg, void *caller_arg)
{
	struct pyg_export *x = pyg_current_export();
	struct pyg_object *o = pyg_object_of(handle);
	fsal_status_t status;

	if (arg->info) { /* WRITE_PLUS */
		callback(handle, pyg_status(ERR_FSAL_NOTSUPP), arg, caller_arg);
		return;
	}
	status = pyg_may_access(x, o, arg->state, FSAL_O_WRITE, bypass);
	if (FSAL_IS_ERROR(status)) {
		callback(handle, status, arg, caller_arg);
		return;
	}
	if (x->io)
		io_when_admitted(new_call(o, callback, arg, caller_arg, false));
	else
		write_by_python(new_call(o, callback, arg, caller_arg, false));
}

/* Ganesha has no asynchronous form of this. An inode that is not resident has nothing uncommitted. */
static fsal_status_t commit2(struct fsal_obj_handle *handle, off_t offset, size_t length)
{
	struct pyg_export *x = pyg_current_export();
	const struct pyg_key *key = &pyg_object_of(handle)->key;

	if (x->io) {
		int rc = x->io->commit(x->io->core, key->inode, key->generation);

		return rc < 0 ? pyg_status_of_errno(-rc) : pyg_status(ERR_FSAL_NO_ERROR);
	}
	return pyg_status(PYG_CALL(x, pyg_py_commit(x, key->inode, offset, length)));
}

void pyg_io_ops(struct fsal_obj_ops *ops)
{
	ops->read2 = read2;
	ops->write2 = write2;
	ops->commit2 = commit2;
}
