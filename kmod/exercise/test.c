// SPDX-License-Identifier: GPL-2.0
/*
 * Trace this process while it works on abc.txt in the current folder.
 *
 * Run on a fresh abc.txt with the modules loaded, it makes ftracehooking print
 *
 *	[OWNER] test file[abc.txt] stats [x] read - 20 / written - 26
 *	open[1] close[1] read[4] write[5] lseek[9]
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "number.h"
#include "os_ftrace.h"

#define CHUNK 5
#define ROUNDS 4

static void require(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

/*
 * The way in: the system call, or, where it has no number, the device. It is found and opened
 * before the trace starts, as to open is counted.
 */
struct way {
	long number;
	int device;
};

static struct way find_way(void)
{
	struct way way = { number_in_force("ftracehooking"), -1 };

	if (!way.number) {
		way.device = open(OS_FTRACE_DEVICE, O_RDWR);
		require(way.device >= 0, "open " OS_FTRACE_DEVICE);
	}
	return way;
}

static void start_trace(const struct way *way)
{
	struct os_ftrace_request own = { 0, 0 };

	require(!(way->number ? syscall(way->number, getpid()) :
				ioctl(way->device, OS_FTRACE_START, &own)),
		"start the trace");
}

static void end_trace(const struct way *way)
{
	struct os_ftrace_request own = { 0, 0 };

	require(!(way->number ? syscall(way->number, 0) :
				ioctl(way->device, OS_FTRACE_STOP, &own)),
		"end the trace");
}

/* Copy each of the file's first four chunks to its end. */
static void copy_chunks(int fd)
{
	char chunk[CHUNK];
	int i;

	for (i = 1; i <= ROUNDS; i++) {
		require(read(fd, chunk, CHUNK) == CHUNK, "read abc.txt");
		require(lseek(fd, 0, SEEK_END) >= 0, "lseek abc.txt");
		require(write(fd, chunk, CHUNK) == CHUNK, "write abc.txt");
		require(lseek(fd, i * CHUNK, SEEK_SET) >= 0, "lseek abc.txt");
	}
}

int main(void)
{
	static const char greeting[] = "HELLO";
	struct way way = find_way();
	int fd;

	start_trace(&way);

	fd = open("abc.txt", O_RDWR);
	require(fd >= 0, "open abc.txt");
	copy_chunks(fd);
	require(lseek(fd, 0, SEEK_END) >= 0, "lseek abc.txt");
	require(write(fd, greeting, sizeof(greeting)) == sizeof(greeting), "write abc.txt");
	require(!close(fd), "close abc.txt");

	end_trace(&way);
	return EXIT_SUCCESS;
}
