// SPDX-License-Identifier: GPL-2.0
/*
 * account SEED CALLS: make random calls, and print what the kernel itself counted of them.
 *
 * The calls read, write and copy between two files in the current folder; not by
 * copy_file_range(), which some kernels count twice. Prints the growth of rchar, wchar, syscr and
 * syscw in /proc/PID/io.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

#define SIZE 5000

static unsigned int seed;
static char bytes[3 * SIZE];

static long any(long end)
{
	return rand_r(&seed) % end;
}

static void call(int a, int b)
{
	struct iovec parts[] = { { bytes, any(SIZE) }, { bytes + SIZE, any(SIZE) } };
	long offset = any(SIZE);

	switch (any(13)) {
	case 0:
		syscall(SYS_read, a, bytes, any(SIZE));
		break;
	case 1:
		syscall(SYS_pread64, a, bytes, any(SIZE), offset);
		break;
	case 2:
		syscall(SYS_readv, a, parts, 2);
		break;
	case 3:
		syscall(SYS_preadv, a, parts, 2, offset, 0);
		break;
	case 4:
		syscall(SYS_preadv2, a, parts, 2, offset, 0, 0);
		break;
	case 5:
		syscall(SYS_write, b, bytes, any(SIZE));
		break;
	case 6:
		syscall(SYS_pwrite64, b, bytes, any(SIZE), offset);
		break;
	case 7:
		syscall(SYS_writev, b, parts, 2);
		break;
	case 8:
		syscall(SYS_pwritev, b, parts, 2, offset, 0);
		break;
	case 9:
		syscall(SYS_pwritev2, b, parts, 2, offset, 0, 0);
		break;
	case 10:
		syscall(SYS_sendfile, b, a, NULL, 1 + any(SIZE));
		break;
	case 11:
		syscall(SYS_lseek, a, offset, SEEK_SET);
		break;
	case 12:
		syscall(SYS_lseek, b, offset, SEEK_SET);
		break;
	}
}

static void work(int calls)
{
	int a = open("data", O_RDWR), b = open("made", O_RDWR | O_CREAT, 0600);

	if (ftruncate(a, SIZE) || way_start(0, OS_FTRACE_WIDE | OS_FTRACE_DETAIL))
		_exit(1);
	raise(SIGSTOP);
	while (calls--)
		call(a, b);
	raise(SIGSTOP);
	_exit(way_end(0, 0));
}

static void look(pid_t pid, long counted[4])
{
	char path[64];
	FILE *file;

	waitpid(pid, NULL, WUNTRACED);
	snprintf(path, sizeof(path), "/proc/%d/io", pid);
	file = fopen(path, "r");
	if (!file || fscanf(file, "rchar: %ld wchar: %ld syscr: %ld syscw: %ld", &counted[0],
			    &counted[1], &counted[2], &counted[3]) != 4)
		exit(EXIT_FAILURE);
	fclose(file);
	kill(pid, SIGCONT);
}

int main(int argc, char **argv)
{
	long before[4], after[4];
	pid_t pid;
	int status;

	if (argc != 3)
		return EXIT_FAILURE;
	seed = atoi(argv[1]);
	way_find(true);
	pid = fork();
	if (!pid)
		work(atoi(argv[2]));
	look(pid, before);
	look(pid, after);
	waitpid(pid, &status, 0);
	for (int i = 0; i < 4; i++)
		printf("%ld ", after[i] - before[i]);
	return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
