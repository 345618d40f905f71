/* fsx: seeded random operations on one file, compared with a copy of it in memory.
 *
 * Usage: fsx [key=value ...] FILE
 *   seed=1 operations=1000 most=8M (the file's largest size) only=… (letters of operations, default all that work here)
 *   r read     R read from the server: fsync, drop the pages, read     m read through a mapping
 *   w write    a write at the end                                      M write through a mapping
 *   t truncate, to shorter or longer    p punch a hole    f allocate
 *   o close and open     s fsync     h walk data and holes (SEEK_DATA, SEEK_HOLE): what is a hole must be zeros
 * What the mount cannot do (p and f) is found out at the start, said, and left out. Ends with 0 where all agreed, with 1
 * on a mismatch, after the last operations and the seed were written, with 2 where an operation failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KINDS "rRmwaMtpfosh"
#define REMEMBERED 48
#define WHOLE_EVERY 500

static const char *path;
static uint64_t seed = 1, operations = 1000, most = 8 << 20;
static char chosen[sizeof KINDS] = KINDS;
static uint64_t done[128];

static int fd = -1;
static uint8_t *expected, *buffer; /* `expected` is zeros from `size` on */
static uint64_t size, number, state;

static struct { char text[96]; uint64_t from, to; } past[REMEMBERED];

static void remember(uint64_t from, uint64_t to, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(past[number % REMEMBERED].text, sizeof past[0].text, format, arguments);
	va_end(arguments);
	past[number % REMEMBERED].from = from;
	past[number % REMEMBERED].to = to;
}

/* The last operations, oldest first; those that touched the bytes in question are marked. */
static void tell(uint64_t from, uint64_t to)
{
	for (uint64_t n = number >= REMEMBERED ? number - REMEMBERED + 1 : 0; n <= number; n++)
		printf("%c %6llu %s\n", past[n % REMEMBERED].from < to && from < past[n % REMEMBERED].to ? '*' : ' ',
		       (unsigned long long)n, past[n % REMEMBERED].text);
	printf("seed=%llu operations=%llu most=%llu only=%s\n", (unsigned long long)seed,
	       (unsigned long long)operations, (unsigned long long)most, chosen);
	fflush(stdout);
}

static void must(int good, const char *what)
{
	if (good)
		return;
	printf("fsx: %s: %s\n", what, strerror(errno));
	tell(0, 0);
	exit(2);
}

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t limit) { return limit ? next_random() % limit : 0; }

/* As many short as long ones, from 1 byte to 512 KiB. */
static uint64_t some_length(void)
{
	uint64_t length = 1 + below(1ull << (1 + below(19)));

	return below(4) ? length : (length + 4095) & ~4095ull;
}

/* Anywhere up to the limit; often where servers and clients have their seams: pages, blocks, the end of the file. */
static uint64_t some_offset(uint64_t limit)
{
	uint64_t at = below(limit + 1);

	switch (below(6)) {
	case 0:
		at &= ~4095ull;
		break;
	case 1:
		at &= ~((256ull << 10) - 1);
		break;
	case 2:
		at = size - (size ? below(size < 5000 ? size : 5000) : 0);
		break;
	}
	return at < limit ? at : limit;
}

/* A range within the file's size; nothing where the file is empty. */
static uint64_t range_inside(uint64_t *at)
{
	uint64_t length = some_length();

	if (!size)
		return 0;
	*at = some_offset(size - 1);
	return length < size - *at ? length : size - *at;
}

static uint64_t range_anywhere(uint64_t *at)
{
	uint64_t length = some_length();

	*at = some_offset(below(3) && size + 65536 < most ? size + 65536 : most - 1);
	return length < most - *at ? length : most - *at;
}

static void compare(const uint8_t *got, uint64_t at, uint64_t length, const char *how)
{
	uint64_t first = 0, last = length, wrong = 0;

	if (!memcmp(got, expected + at, length))
		return;
	while (got[first] == expected[at + first])
		first++;
	while (got[last - 1] == expected[at + last - 1])
		last--;
	for (uint64_t i = first; i < last; i++)
		wrong += got[i] != expected[at + i];
	printf("fsx: MISMATCH by %s at operation %llu: %llu bytes between %#llx and %#llx, size %#llx\n", how,
	       (unsigned long long)number, (unsigned long long)wrong, (unsigned long long)(at + first),
	       (unsigned long long)(at + last), (unsigned long long)size);
	printf("  expected %02x %02x …, got %02x %02x …\n", expected[at + first], expected[at + first + 1], got[first], got[first + 1]);
	tell(at + first, at + last);
	exit(1);
}

static void check_size(const char *how)
{
	struct stat found;

	must(!fstat(fd, &found), "fstat");
	if ((uint64_t)found.st_size == size)
		return;
	printf("fsx: MISMATCH by %s at operation %llu: the size is %#llx, not %#llx\n", how, (unsigned long long)number,
	       (unsigned long long)found.st_size, (unsigned long long)size);
	tell(0, most);
	exit(1);
}

static void read_and_compare(uint64_t at, uint64_t length, const char *how)
{
	uint64_t got = 0;

	while (got < length) {
		ssize_t n = pread(fd, buffer + got, length - got, at + got);

		must(n >= 0, "pread");
		if (n == 0)
			break;
		got += n;
	}
	if (got < length) {
		printf("fsx: MISMATCH by %s: %llu bytes of %llu at %#llx\n", how, (unsigned long long)got,
		       (unsigned long long)length, (unsigned long long)at);
		tell(at, at + length);
		exit(1);
	}
	compare(buffer, at, length, how);
}

/* Nothing of the file stays in this client. */
static void forget_pages(void)
{
	must(!fsync(fd), "fsync");
	must(!posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), "fadvise");
}

static void check_whole(void)
{
	forget_pages();
	check_size("reading all");
	read_and_compare(0, size, "reading all");
}

static void reopen(void)
{
	if (fd >= 0)
		must(!close(fd), "close");
	must((fd = open(path, O_RDWR | O_CREAT, 0644)) >= 0, "open");
}

static void do_write(uint64_t at, uint64_t length)
{
	uint64_t sent = 0;

	for (uint64_t i = 0; i < length; i++)
		expected[at + i] = 1 + (number * 37 + (at + i) * 11 + (at + i) / 4096) % 255;
	while (sent < length) {
		ssize_t n = pwrite(fd, expected + at + sent, length - sent, at + sent);

		must(n > 0, "pwrite");
		sent += n;
	}
	if (at + length > size)
		size = at + length;
}

static void do_truncate(uint64_t to)
{
	must(!ftruncate(fd, to), "ftruncate");
	if (to < size)
		memset(expected + to, 0, size - to);
	size = to;
}

static void do_mapped(uint64_t at, uint64_t length, int writes)
{
	uint64_t start = at & ~4095ull;
	uint8_t *map = mmap(NULL, at + length - start, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, start);

	must(map != MAP_FAILED, "mmap");
	if (writes) {
		for (uint64_t i = 0; i < length; i++)
			expected[at + i] = 1 + (number * 41 + (at + i) * 13) % 255;
		memcpy(map + (at - start), expected + at, length);
		must(below(2) || !msync(map, at + length - start, MS_SYNC), "msync");
	} else {
		compare(map + (at - start), at, length, "a mapping");
	}
	must(!munmap(map, at + length - start), "munmap");
}

static void do_punch(uint64_t at, uint64_t length)
{
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length), "punch a hole");
	if (at < size)
		memset(expected + at, 0, at + length < size ? length : size - at);
}

static void do_allocate(uint64_t at, uint64_t length)
{
	must(!fallocate(fd, 0, at, length), "allocate");
	if (at + length > size)
		size = at + length;
}

/* What the mount says is a hole must be zeros, and the last hole is the one at the end. */
static void do_seek(void)
{
	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		must(data >= 0 || errno == ENXIO, "SEEK_DATA");
		if (data < 0)
			data = size;
		memset(buffer, 0, data - at);
		compare(buffer, at, data - at, "SEEK_DATA");
		if ((uint64_t)data >= size)
			break;
		must((hole = lseek(fd, data, SEEK_HOLE)) > data && (uint64_t)hole <= size, "SEEK_HOLE");
		at = hole;
	}
}

static void act(char kind)
{
	uint64_t at = 0, length = 0;

	if (strchr("rRmM", kind) && !(length = range_inside(&at)))
		return;
	if (strchr("wpf", kind))
		length = range_anywhere(&at);
	if (kind == 'a') {
		at = size;
		length = some_length();
		if (length > most - size && !(length = most - size))
			return;
	}
	if (kind == 't')
		at = below(8) ? some_offset(most) : below(2) * size / 2;
	remember(kind == 't' ? at : strchr("wapfM", kind) ? at : 0, kind == 't' ? most : strchr("wapfM", kind) ? at + length : 0,
		 "%c at %#llx length %#llx size %#llx", kind, (unsigned long long)at, (unsigned long long)length,
		 (unsigned long long)size);
	done[(int)kind]++;
	switch (kind) {
	case 'R':
		forget_pages(); /* fallthrough */
	case 'r':
		read_and_compare(at, length, kind == 'r' ? "reading" : "reading from the server");
		break;
	case 'm':
	case 'M':
		do_mapped(at, length, kind == 'M');
		break;
	case 'w':
	case 'a':
		do_write(at, length);
		break;
	case 't':
		do_truncate(at);
		break;
	case 'p':
		do_punch(at, length);
		break;
	case 'f':
		do_allocate(at, length);
		break;
	case 'o':
		reopen();
		break;
	case 's':
		must(!fsync(fd), "fsync");
		break;
	case 'h':
		must(!fsync(fd), "fsync");
		do_seek();
		break;
	}
	if (strchr("watpfo", kind))
		check_size("fstat");
}

static void leave_out(char kind, const char *what)
{
	char *found = strchr(chosen, kind);

	if (!found)
		return;
	must(errno == EOPNOTSUPP, what);
	printf("fsx: %s: not supported here, left out\n", what);
	memmove(found, found + 1, strlen(found));
}

static void find_out_what_works(void)
{
	if (fallocate(fd, 0, 0, 4096))
		leave_out('f', "allocate");
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
		leave_out('p', "punch a hole");
	must(!ftruncate(fd, 0), "ftruncate");
}

static uint64_t bytes(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	return value << (*end == 'M' ? 20 : *end == 'K' ? 10 : 0);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "seed=", 5))
			seed = bytes(argv[i] + 5);
		else if (!strncmp(argv[i], "operations=", 11))
			operations = bytes(argv[i] + 11);
		else if (!strncmp(argv[i], "most=", 5))
			most = bytes(argv[i] + 5);
		else if (!strncmp(argv[i], "only=", 5))
			snprintf(chosen, sizeof chosen, "%s", argv[i] + 5);
		else
			path = argv[i];
	}
	if (!path || most < (1 << 20) || strspn(chosen, KINDS) != strlen(chosen)) {
		fprintf(stderr, "usage: fsx [seed=N] [operations=N] [most=8M] [only=%s] FILE\n", KINDS);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	state = 88172645463325252ull ^ (seed * 0x9e3779b97f4a7c15ull);
	expected = calloc(1, most + 4096);
	buffer = calloc(1, most + 4096);
	must(expected && buffer, "memory");
	unlink(path);
	reopen();
	find_out_what_works();
	for (number = 0; number < operations; number++) {
		/* Writes twice as often as the rest: a file that is always short tests little. */
		act(below(4) || !strchr(chosen, 'w') ? chosen[below(strlen(chosen))] : 'w');
		if (number % WHOLE_EVERY == WHOLE_EVERY - 1) {
			check_whole();
			printf("fsx: %llu done\n", (unsigned long long)number + 1);
		}
	}
	number--;
	check_whole();
	printf("fsx: agreed: seed=%llu size=%llu", (unsigned long long)seed, (unsigned long long)size);
	for (const char *kind = chosen; *kind; kind++)
		printf(" %c=%llu", *kind, (unsigned long long)done[(int)*kind]);
	printf("\n");
	return 0;
}
