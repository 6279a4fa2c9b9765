// SPDX-License-Identifier: GPL-2.0
/*
 * Say how many instructions system calls take, where the time stamp counter counts instructions:
 * in a guest of QEMU's -icount shift=0.
 *
 *	cost bare               as things are
 *	cost other [FLAGS]      while another process, which sleeps, is traced
 *	cost self [FLAGS]       while this process is traced
 *
 * FLAGS are those of /dev/os_ftrace; without them the system call starts the trace. A line a call:
 * its name and the median of the counts. Nine calls in ten have the same; the others met a timer
 * interrupt, an empty list of free memory and the like.
 */
#define _GNU_SOURCE
#include <err.h>
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
/* A name that is not looked up: how long a look-up takes depends on what else was. */
#define NAME "/././././"
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

static void print_median(const char *name, unsigned int *counts)
{
	qsort(counts, SAMPLES, sizeof(*counts), ascending);
	printf("%s %u\n", name, counts[SAMPLES / 2]);
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
		opens[at] = count_call(SYS_openat, AT_FDCWD, (long)NAME, O_PATH);
		closes[at] = count_call(SYS_close, result, 0, 0);
		reads[at] = count_call(SYS_read, zero, (long)&byte, 1);
		writes[at] = count_call(SYS_write, zero, (long)&byte, 1);
		lseeks[at] = count_call(SYS_lseek, zero, 0, SEEK_SET);
	}
	print_median("getpid", getpids);
	print_median("openat", opens);
	print_median("close", closes);
	print_median("read", reads);
	print_median("write", writes);
	print_median("lseek", lseeks);
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
