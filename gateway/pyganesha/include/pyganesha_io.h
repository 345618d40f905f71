/* The data path of an FSAL written with pyganesha, as C functions that never take Python's lock.
 *
 * Fsal.io() returns a PyCapsule named PYGANESHA_IO_NAME that holds a struct pyganesha_io. The capsule's owner keeps the
 * struct and what `core` points at alive until Fsal.close() has returned.
 *
 * Rules of every function:
 *  - It may be called from any number of threads at once and must not block on an object store. commit, allocate and deallocate
 *    wait for disks, since Ganesha has no other form of them; -EAGAIN where too many callers do already: the client tries again.
 *  - It returns PYGANESHA_DONE, PYGANESHA_PENDING, PYGANESHA_NOT_RESIDENT or a negative errno.
 *  - PENDING: `done` is called exactly once, later, from any thread (never from inside the call), with 0 or a negative
 *    errno. Buffers and token stay valid until then.
 *  - NOT_RESIDENT: nothing was done; the shim calls Fsal.load(inode) under Python's lock and tries again.
 *  - Outputs are written only when the return value is DONE.
 */
#ifndef PYGANESHA_IO_H
#define PYGANESHA_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define PYGANESHA_IO_ABI 4u
#define PYGANESHA_IO_NAME "pyganesha.io"

enum { PYGANESHA_DONE = 0, PYGANESHA_PENDING = 1, PYGANESHA_NOT_RESIDENT = 2 };

/* All attributes of an inode; times in nanoseconds since 1970. `kind` is the S_IFMT part of a POSIX mode. */
struct pyganesha_attributes {
	uint64_t inode;
	uint64_t generation;
	uint64_t size;
	uint64_t space_used;
	uint64_t change;
	int64_t atime_ns;
	int64_t mtime_ns;
	int64_t ctime_ns;
	int64_t btime_ns;
	uint32_t kind;
	uint32_t mode; /* permission bits only, 07777 */
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t reserved;
};

/* `amount`: bytes read or written. `eof`: a read reached the end of the file. `stable`: a write is durable. */
typedef void (*pyganesha_done)(void *token, int error, size_t amount, bool flag);

struct pyganesha_io {
	uint32_t abi; /* PYGANESHA_IO_ABI */
	uint32_t size; /* sizeof(struct pyganesha_io) */
	void *core;

	/* Reads into iov, from offset. *amount and *eof are set when DONE; at PENDING they come with done (flag = eof). */
	int (*read)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, const struct iovec *iov, int iovcnt,
		    size_t *amount, bool *eof, pyganesha_done done, void *token);

	/* Writes all of iov at offset, or nothing. stable: complete only when durable. uid: the caller's (setuid clearing).
	 * DONE means that all bytes were taken; an unstable one may be lost with the process until commit. */
	int (*write)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, const struct iovec *iov, int iovcnt,
		     bool stable, uint32_t uid, pyganesha_done done, void *token);

	/* Returns when everything written to the inode before the call is durable. */
	int (*commit)(void *core, uint64_t inode, uint64_t generation);

	/* Attributes of a resident inode, or NOT_RESIDENT: the shim then asks Fsal.getattr. */
	int (*getattributes)(void *core, uint64_t inode, uint64_t generation, struct pyganesha_attributes *out);

	/* The first data, or with `hole` the first hole, at or after offset; the end of the file is a hole. *eof: nothing of it lies
	 * before the end of the file, and *found is the size. -ENXIO: offset is not before the end of the file. */
	int (*seek)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, bool hole, uint64_t *found, bool *eof);

	/* Makes the file at least offset + length large, if there is room for what it would hold; what was not written reads as
	 * zeros. Durable when DONE. uid: the caller's (setuid clearing). -EFBIG, -ENOSPC, -EDQUOT. */
	int (*allocate)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length, uint32_t uid);

	/* Makes what of the range lies in the file read as zeros and take no room; the size stays. As allocate otherwise. */
	int (*deallocate)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length, uint32_t uid);

	/* The range (length 0: to the end of the file) will be read soon: what the core fetches for that, nobody waits for. */
	int (*will_need)(void *core, uint64_t inode, uint64_t generation, uint64_t offset, uint64_t length);

	/* Around each call of a method of the Fsal, on the thread that calls it. After `begin` the method need not wait for what
	 * it changed to be durable: `settle`, called without Python's lock, does, and its error is the operation's.
	 * A method that waits while it holds a place in the interpreter keeps others from it; waiting in C, all share one
	 * sync. */
	void (*begin)(void *core);
	int (*settle)(void *core);

	/* The client and user that the next calls on this thread are made for; null: nobody's. NULL where the core does not want to
	 * know. */
	void (*caller)(void *core, const struct sockaddr_storage *address, uint32_t uid);
};

#endif
