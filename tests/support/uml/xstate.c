/* Lets Debian 12's linux.uml run on processors whose extended state is larger than it knows (AMX: 11 KiB against 2.6).
 *
 * User-mode Linux switches its processes' vector registers with PTRACE_SETREGSET, and the host's kernel takes nothing but
 * the whole state of its processor: with less it answers EFAULT, and the first process of the machine dies. Preloaded, this
 * completes what user-mode Linux passes by what the process has. Where the sizes agree it changes nothing.
 *
 * Build: gcc -O2 -shared -fPIC -o xstate.so xstate.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { HEADER_AT = 512, LEGACY_AND_AVX = 2696 };
static const uint64_t TILE_STATE = 3ull << 17; /* what lies behind the first 2696 bytes; nothing in there uses it */

/* The machine is one thread on small stacks of its own, so the buffer is static. */
static union { uint64_t words[8192]; char bytes[65536]; } whole;

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(enum __ptrace_request, ...);
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!real)
		real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	if ((request != PTRACE_GETREGSET && request != PTRACE_SETREGSET) || (uintptr_t)address != NT_X86_XSTATE)
		return real(request, pid, address, data);

	struct iovec *given = data, all = { .iov_base = whole.bytes, .iov_len = sizeof whole };
	if (real(PTRACE_GETREGSET, pid, address, &all) < 0)
		return -1;
	size_t length = given->iov_len < all.iov_len ? given->iov_len : all.iov_len;
	if (request == PTRACE_GETREGSET) {
		memcpy(given->iov_base, whole.bytes, length);
		given->iov_len = length;
		return 0;
	}
	memcpy(whole.bytes, given->iov_base, length);
	if (length <= LEGACY_AND_AVX && all.iov_len > length)
		whole.words[HEADER_AT / 8] &= ~TILE_STATE;
	return real(PTRACE_SETREGSET, pid, address, &all);
}
