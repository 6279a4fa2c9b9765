/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Make one system call that a text names, as a 64-bit, an x32 or a 32-bit program does.
 *
 * The text is the call's name and its arguments, divided by blanks:
 *
 *	-5, 0x10	a number
 *	@		the address of 64 KiB of bytes
 *	[3,4]		the address of buffers of so many bytes, for readv() and its like
 *	*8		the address of a 64-bit number, an offset
 *	how=2		the address of what openat2() takes, with these flags
 *	request=5,1	the address of a request to the device, with this pid and these flags
 *	anything else	the address of this text
 *
 * All addresses fit in 32 bits.
 */
#ifndef BY_NAME_H
#define BY_NAME_H

#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../../kmod/os_ftrace.h"

#define X32_BIT 0x40000000
#define BUFFER 65536
#define NONE -1

enum gate { GATE_64, GATE_X32, GATE_32 };

/* The numbers of newer calls, from 424 on, are the same for all. */
static const struct named_call {
	const char *name;
	int number[3];
} named_calls[] = {
	{ "read", { SYS_read, SYS_read, 3 } },
	{ "write", { SYS_write, SYS_write, 4 } },
	{ "open", { SYS_open, SYS_open, 5 } },
	{ "close", { SYS_close, SYS_close, 6 } },
	{ "creat", { SYS_creat, SYS_creat, 8 } },
	{ "lseek", { SYS_lseek, SYS_lseek, 19 } },
	{ "_llseek", { NONE, NONE, 140 } },
	{ "openat", { SYS_openat, SYS_openat, 295 } },
	{ "openat2", { 437, 437, 437 } },
	{ "close_range", { 436, 436, 436 } },
	{ "dup", { SYS_dup, SYS_dup, 41 } },
	{ "dup2", { SYS_dup2, SYS_dup2, 63 } },
	{ "dup3", { SYS_dup3, SYS_dup3, 330 } },
	{ "fcntl", { SYS_fcntl, SYS_fcntl, 55 } },
	{ "pread64", { SYS_pread64, SYS_pread64, 180 } },
	{ "readv", { SYS_readv, 515, 145 } },
	{ "preadv", { SYS_preadv, 534, 333 } },
	{ "preadv2", { SYS_preadv2, 546, 378 } },
	{ "pwrite64", { SYS_pwrite64, SYS_pwrite64, 181 } },
	{ "writev", { SYS_writev, 516, 146 } },
	{ "pwritev", { SYS_pwritev, 535, 334 } },
	{ "pwritev2", { SYS_pwritev2, 547, 379 } },
	{ "sendfile", { SYS_sendfile, SYS_sendfile, 187 } },
	{ "sendfile64", { NONE, NONE, 239 } },
	{ "splice", { SYS_splice, SYS_splice, 313 } },
	{ "tee", { SYS_tee, SYS_tee, 315 } },
	{ "vmsplice", { SYS_vmsplice, 532, 316 } },
	{ "copy_file_range", { SYS_copy_file_range, SYS_copy_file_range, 377 } },
	{ "mmap", { SYS_mmap, SYS_mmap, NONE } },
	{ "mmap2", { NONE, NONE, 192 } },
	{ "fsync", { SYS_fsync, SYS_fsync, 118 } },
	{ "fdatasync", { SYS_fdatasync, SYS_fdatasync, 148 } },
	{ "sync_file_range", { SYS_sync_file_range, SYS_sync_file_range, 314 } },
	{ "truncate", { SYS_truncate, SYS_truncate, 92 } },
	{ "truncate64", { NONE, NONE, 193 } },
	{ "ftruncate", { SYS_ftruncate, SYS_ftruncate, 93 } },
	{ "ftruncate64", { NONE, NONE, 194 } },
	{ "fallocate", { SYS_fallocate, SYS_fallocate, 324 } },
	{ "getdents", { SYS_getdents, SYS_getdents, 141 } },
	{ "getdents64", { SYS_getdents64, SYS_getdents64, 220 } },
	{ "io_uring_enter", { 426, 426, 426 } },
	{ "execve", { SYS_execve, 520, 11 } },
	{ "execveat", { SYS_execveat, 545, 358 } },
	{ "getpid", { SYS_getpid, SYS_getpid, 20 } },
	{ "ioctl", { SYS_ioctl, 514, 54 } },
	{ "pipe", { SYS_pipe, SYS_pipe, 42 } },
	{ "socketpair", { SYS_socketpair, SYS_socketpair, 360 } },
	{ "unlink", { SYS_unlink, SYS_unlink, 10 } },
	{ "rename", { SYS_rename, SYS_rename, 38 } },
};

static char *buffer;
static char *room;

static void *take_room(size_t size)
{
	char *taken = room;

	room += (size + 15) & ~15UL;
	return taken;
}

static void by_name_init(void)
{
	room = mmap(NULL, 16 * BUFFER, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT | MAP_POPULATE, -1, 0);
	buffer = take_room(BUFFER);
}

static void *put_buffers(enum gate gate, char *lengths)
{
	struct iovec *wide = take_room(16 * sizeof(*wide));
	uint32_t *narrow = (uint32_t *)wide;
	size_t offset = 0;
	int i = 0;

	for (char *length = strtok(lengths, "[,]"); length; length = strtok(NULL, "[,]"), i++) {
		if (gate == GATE_64) {
			wide[i] = (struct iovec){ buffer + offset, atol(length) };
		} else {
			narrow[2 * i] = (uintptr_t)buffer + offset;
			narrow[2 * i + 1] = atol(length);
		}
		offset += atol(length);
	}
	return wide;
}

static void *put_request(const char *words)
{
	struct os_ftrace_request *request = take_room(sizeof(*request));

	char *rest;

	request->pid = strtol(words, &rest, 0);
	request->flags = *rest ? strtoul(rest + 1, NULL, 0) : 0;
	return request;
}

static long put_argument(enum gate gate, char *word)
{
	char *rest;
	long number = strtol(word, &rest, 0);

	if (!*rest)
		return number;
	if (!strcmp(word, "@"))
		return (long)buffer;
	if (*word == '[')
		return (long)put_buffers(gate, word);
	if (*word == '*')
		return (long)memcpy(take_room(8), &(long){ atol(word + 1) }, 8);
	if (!strncmp(word, "how=", 4))
		return (long)memcpy(take_room(sizeof(struct open_how)),
				    &(struct open_how){ .flags = strtol(word + 4, NULL, 0) },
				    sizeof(struct open_how));
	if (!strncmp(word, "request=", 8))
		return (long)put_request(word + 8);
	return (long)strcpy(take_room(strlen(word) + 1), word);
}

static long through_int80(long number, const long *arguments)
{
	register long sixth asm("r12") = arguments[5];
	long done = number;

	asm volatile("xchg %%rbp, %[sixth]\n\t"
		     "int $0x80\n\t"
		     "xchg %%rbp, %[sixth]"
		     : "+a"(done), [sixth] "+r"(sixth)
		     : "b"(arguments[0]), "c"(arguments[1]), "d"(arguments[2]), "S"(arguments[3]),
		       "D"(arguments[4])
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)done;
}

/* The result as the kernel gives it, an error as a negative number. */
static long through_syscall(long number, const long *arguments)
{
	register long fourth asm("r10") = arguments[3];
	register long fifth asm("r8") = arguments[4];
	register long sixth asm("r9") = arguments[5];
	long done;

	asm volatile("syscall"
		     : "=a"(done)
		     : "a"(number), "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]),
		       "r"(fourth), "r"(fifth), "r"(sixth)
		     : "memory", "rcx", "r11");
	return done;
}

static long by_name(enum gate gate, char *text)
{
	const char *name = strtok(text, " ");
	char *words[6] = {};
	long arguments[6] = {};
	int number = NONE;

	for (size_t i = 0; i < sizeof(named_calls) / sizeof(*named_calls); i++)
		if (!strcmp(named_calls[i].name, name))
			number = named_calls[i].number[gate];
	if (number == NONE) {
		fprintf(stderr, "no call %s\n", name);
		exit(2);
	}
	for (int i = 0; i < 6; i++)
		words[i] = strtok(NULL, " ");
	for (int i = 0; i < 6 && words[i]; i++)
		arguments[i] = put_argument(gate, words[i]);
	if (gate == GATE_32)
		return through_int80(number, arguments);
	return through_syscall(number | (gate == GATE_X32 ? X32_BIT : 0), arguments);
}

#endif /* BY_NAME_H */
