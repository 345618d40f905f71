/* A gate before the data path: whether a read or write may go on now, later, or is to come again.
 *
 * Fsal.gate() returns a PyCapsule named PYGANESHA_GATE_NAME that holds a struct pyganesha_gate, which its owner keeps alive until
 * Fsal.close() has returned. It is asked on Ganesha's threads without Python's lock, and must not wait.
 */
#ifndef PYGANESHA_GATE_H
#define PYGANESHA_GATE_H

#include <stdbool.h>
#include <stdint.h>

#define PYGANESHA_GATE_ABI 1u
#define PYGANESHA_GATE_NAME "pyganesha.gate"

struct pyganesha_gate {
	uint32_t abi; /* PYGANESHA_GATE_ABI */
	uint32_t size; /* sizeof(struct pyganesha_gate) */
	void *gate;

	/* `export_id` is Ganesha's; `client` the address in 16 bytes, IPv4 in its mapped form; `bytes` what is asked for.
	 * PYGANESHA_DONE: it may go on. PYGANESHA_PENDING: `go` is called once, later, by a thread that may wait.
	 * -EAGAIN: the client is to come again. */
	int (*admit)(void *gate, uint16_t export_id, const uint8_t client[16], bool is_read, uint64_t bytes, void (*go)(void *token),
		     void *token);
};

#endif
