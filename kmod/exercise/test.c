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
#include <unistd.h>

#define NR_OS_FTRACE 336
#define CHUNK 5
#define ROUNDS 4

static void require(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(EXIT_FAILURE);
	}
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
	int fd;

	require(!syscall(NR_OS_FTRACE, getpid()), "start the trace");

	fd = open("abc.txt", O_RDWR);
	require(fd >= 0, "open abc.txt");
	copy_chunks(fd);
	require(lseek(fd, 0, SEEK_END) >= 0, "lseek abc.txt");
	require(write(fd, greeting, sizeof(greeting)) == sizeof(greeting), "write abc.txt");
	require(!close(fd), "close abc.txt");

	require(!syscall(NR_OS_FTRACE, 0), "end the trace");
	return EXIT_SUCCESS;
}
