/* Values of extended attributes above 8 KiB.
 *
 * Ganesha 4.3 decodes and encodes them as it does every string, of which it takes 8,191 bytes: a compound with a larger one
 * is answered GARBAGE_ARGS, which clients show as EIO. RFC 8276 has no such bound, Linux one of 64 KiB. So COMPOUND is
 * decoded and encoded here, by Ganesha's own functions from its own header, with another bound for these values alone.
 * They are put into its table of procedures, which no symbol names: it is found by what it holds. Where it is not found, or
 * not once, Ganesha's bound stays, and the log says so.
 */
#include "native.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include "nfs_proto_functions.h"

/* Larger than any file system takes, so that it answers with an error of its own. */
#define WIRE_MAX (1024 * 1024)

uint32_t pyg_xattr_value_max = XDR_STRING_MAXLEN - 1;

static bool decode_set_xattr(XDR *xdrs, nfs_argop4 *op)
{
	SETXATTR4args *args = &op->nfs_argop4_u.opsetxattr;

	/* The first attempt may have got as far as the key. */
	free(args->sxa_key.utf8string_val);
	memset(args, 0, sizeof(*args));
	return xdr_nfs_opnum4(xdrs, &op->argop) && inline_xdr_enum(xdrs, (enum_t *)&args->sxa_option) &&
	       xdr_component4(xdrs, &args->sxa_key) && inline_xdr_utf8string(xdrs, &args->sxa_value, WIRE_MAX);
}

/* What Ganesha refuses is looked at again: everything else costs no more than it did. */
static bool operation(XDR *xdrs, nfs_argop4 *op)
{
	bool decodes = xdrs->x_op == XDR_DECODE;
	u_int start = decodes ? XDR_GETPOS(xdrs) : 0;

	if (xdr_nfs_argop4(xdrs, op))
		return true;
	return decodes && op->argop == NFS4_OP_SETXATTR && XDR_SETPOS(xdrs, start) && decode_set_xattr(xdrs, op);
}

static bool result(XDR *xdrs, nfs_resop4 *op)
{
	GETXATTR4res *get = &op->nfs_resop4_u.opgetxattr;
	xattrvalue4 *value = &get->GETXATTR4res_u.resok4.gxr_value;

	if (xdrs->x_op != XDR_ENCODE || op->resop != NFS4_OP_GETXATTR || get->status != NFS4_OK ||
	    value->utf8string_len < XDR_STRING_MAXLEN)
		return xdr_nfs_resop4(xdrs, op);
	return xdr_nfs_opnum4(xdrs, &op->resop) && xdr_nfsstat4(xdrs, &get->status) &&
	       inline_xdr_utf8string(xdrs, value, WIRE_MAX);
}

/* xdr_COMPOUND4args, with our operation. */
static bool arguments(XDR *xdrs, COMPOUND4args *args)
{
	if (!xdr_utf8str_cs(xdrs, &args->tag) || !inline_xdr_u_int32_t(xdrs, &args->minorversion))
		return false;
	if (args->minorversion > 0)
		xdrs->x_flags &= ~XDR_FLAG_CKSUM;
	return xdr_array(xdrs, (char **)&args->argarray.argarray_val, &args->argarray.argarray_len, XDR_ARRAY_MAXLEN,
			 sizeof(nfs_argop4), (xdrproc_t)operation);
}

/* xdr_COMPOUND4res_extended, with our result. */
static bool results(XDR *xdrs, struct COMPOUND4res_extended **extended)
{
	COMPOUND4res *res = &(*extended)->res_compound4;

	return xdr_nfsstat4(xdrs, &res->status) && xdr_utf8str_cs(xdrs, &res->tag) &&
	       xdr_array(xdrs, (char **)&res->resarray.resarray_val, &res->resarray.resarray_len, XDR_ARRAY_MAXLEN,
			 sizeof(nfs_resop4), (xdrproc_t)result);
}

/* --- Ganesha's table --------------------------------------------------------------------------------------------- */

struct search {
	nfs_function_desc_t *found;
	int count;
};

static bool in_segment(const struct dl_phdr_info *library, const void *p, uint32_t flags)
{
	for (int i = 0; i < library->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &library->dlpi_phdr[i];
		uintptr_t begin = library->dlpi_addr + segment->p_vaddr;

		if (segment->p_type == PT_LOAD && (segment->p_flags & flags) == flags && (uintptr_t)p >= begin &&
		    (uintptr_t)p < begin + segment->p_filesz)
			return true;
	}
	return false;
}

static bool is_compound(const struct dl_phdr_info *library, const nfs_function_desc_t *entry)
{
	static const char name[] = "NFS4_COMP";

	return in_segment(library, entry->funcname, PF_R) && in_segment(library, entry->funcname + sizeof(name) - 1, PF_R) &&
	       memcmp(entry->funcname, name, sizeof(name)) == 0 && in_segment(library, entry->service_function, PF_X) &&
	       in_segment(library, entry->free_function, PF_X) && in_segment(library, entry->xdr_decode_func, PF_X) &&
	       in_segment(library, entry->xdr_encode_func, PF_X);
}

/* Constants with addresses in them are in the segment that is read-only after relocation. */
static int look_into(struct dl_phdr_info *library, size_t size, void *data)
{
	struct search *search = data;

	if (!in_segment(library, register_fsal, PF_X))
		return 0;
	for (int i = 0; i < library->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &library->dlpi_phdr[i];
		uintptr_t at = (library->dlpi_addr + segment->p_vaddr + 7) & ~(uintptr_t)7;
		uintptr_t end = library->dlpi_addr + segment->p_vaddr + segment->p_memsz;

		if (segment->p_type != PT_GNU_RELRO)
			continue;
		for (; at + sizeof(nfs_function_desc_t) <= end; at += sizeof(void *)) {
			if (!is_compound(library, (const nfs_function_desc_t *)at))
				continue;
			search->found = (nfs_function_desc_t *)at;
			search->count++;
		}
	}
	return 1;
}

static bool replace(nfs_function_desc_t *entry)
{
	uintptr_t page = sysconf(_SC_PAGESIZE);
	void *begin = (void *)((uintptr_t)entry & ~(page - 1));
	size_t length = ((uintptr_t)(entry + 1) - (uintptr_t)begin + page - 1) & ~(page - 1);

	if (mprotect(begin, length, PROT_READ | PROT_WRITE))
		return false;
	/* Both are right for any message, so that one that is being decoded now may be encoded by the new one. */
	__atomic_store_n(&entry->xdr_decode_func, (xdrproc_t)arguments, __ATOMIC_SEQ_CST);
	__atomic_store_n(&entry->xdr_encode_func, (xdrproc_t)results, __ATOMIC_SEQ_CST);
	mprotect(begin, length, PROT_READ);
	return true;
}

void pyg_allow_large_xattrs(void)
{
	struct search search = { NULL, 0 };

	if (pyg_xattr_value_max == WIRE_MAX)
		return;
	dl_iterate_phdr(look_into, &search);
	if (search.count == 1 && replace(search.found)) {
		pyg_xattr_value_max = WIRE_MAX;
		return;
	}
	LogWarn(COMPONENT_FSAL, "PYGANESHA: extended attributes are limited to %u bytes: this Ganesha is not as expected",
		pyg_xattr_value_max);
}
