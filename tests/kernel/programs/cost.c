// SPDX-License-Identifier: GPL-2.0
/*
 * Say how many instructions system calls take, where the time stamp counter counts instructions:
 * in a guest of QEMU's -icount shift=0.
 *
 *	cost bare               as things are
 *	cost other [FLAGS]      while another process, which sleeps, is traced
 *	cost self [FLAGS]       while this process is traced
 *
 * FLAGS are those of /dev/os_ftrace; without them the system call starts the trace. A line a call: its name, the count that most of the calls
 * had, and how many in a thousand had it. Timer interrupts and the like make the others dearer.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "../../../kmod/os_ftrace.h"

#define NR_OS_FTRACE 336
#define WARM_UP 100
#define SAMPLES 1000

static long result;

/* The C library's syscall() would add what is no part of the kernel. */
static unsigned int count_call(long nr, long first, long second, long third)
{
	uint64_t start = __rdtsc();

	asm volatile("syscall" : "=a"(result)
		     : "a"(nr), "D"(first), "S"(second), "d"(third)
		     : "rcx", "r11", "memory");
	return __rdtsc() - start;
}

static int ascending(const void *a, const void *b)
{
	const unsigned int *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static void print_most_frequent(const char *name, unsigned int *counts)
{
	unsigned int most = 0, same = 0;
	int longest = 0;

	qsort(counts, SAMPLES, sizeof(*counts), ascending);
	for (int i = 0; i < SAMPLES; i++) {
		same = i && counts[i] == counts[i - 1] ? same + 1 : 1;
		if ((int)same > longest) {
			longest = same;
			most = counts[i];
		}
	}
	printf("%s %u %d\n", name, most, longest * 1000 / SAMPLES);
}

static void count_all(void)
{
	static unsigned int getpids[SAMPLES], opens[SAMPLES], closes[SAMPLES], reads[SAMPLES],
		writes[SAMPLES], lseeks[SAMPLES];
	int zero = open("/dev/zero", O_RDWR);
	char byte;

	if (zero < 0)
		err(EXIT_FAILURE, "/dev/zero");
	for (int i = -WARM_UP; i < SAMPLES; i++) {
		int at = i < 0 ? 0 : i;

		getpids[at] = count_call(SYS_getpid, 0, 0, 0);
		opens[at] = count_call(SYS_openat, AT_FDCWD, (long)"/dev/zero", O_RDONLY);
		closes[at] = count_call(SYS_close, result, 0, 0);
		reads[at] = count_call(SYS_read, zero, (long)&byte, 1);
		writes[at] = count_call(SYS_write, zero, (long)&byte, 1);
		lseeks[at] = count_call(SYS_lseek, zero, 0, SEEK_SET);
	}
	print_most_frequent("getpid", getpids);
	print_most_frequent("openat", opens);
	print_most_frequent("close", closes);
	print_most_frequent("read", reads);
	print_most_frequent("write", writes);
	print_most_frequent("lseek", lseeks);
}

static void start(pid_t pid, unsigned int flags)
{
	struct os_ftrace_request request = { .pid = pid, .flags = flags };
	int device;

	if (!flags) {
		if (syscall(NR_OS_FTRACE, pid))
			err(EXIT_FAILURE, "os_ftrace");
		return;
	}
	device = open(OS_FTRACE_DEVICE, O_RDWR);
	if (device < 0 || ioctl(device, OS_FTRACE_START, &request))
		err(EXIT_FAILURE, OS_FTRACE_DEVICE);
	close(device);
}

static void count_beside_a_traced(unsigned int flags)
{
	pid_t child = fork();

	if (!child)
		for (;;)
			pause();
	start(child, flags);
	count_all();
	kill(child, SIGKILL);
	wait(NULL);
}

int main(int argc, char *argv[])
{
	const char *state = argc > 1 ? argv[1] : "";
	unsigned int flags = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(state, "bare")) {
		count_all();
	} else if (!strcmp(state, "other")) {
		count_beside_a_traced(flags);
	} else if (!strcmp(state, "self")) {
		start(getpid(), flags);
		count_all();
	} else {
		errx(EXIT_FAILURE, "usage: cost bare|other|self [FLAGS]");
	}
	return EXIT_SUCCESS;
}
