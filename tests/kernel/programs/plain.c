// SPDX-License-Identifier: GPL-2.0
/*
 * Use a file, and nothing else: three reads of two bytes, two seeks, a file that is not there,
 * and the end by a signal. With an argument behind the file's name the file is not closed.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDONLY);
	char bytes[2];

	for (int i = 0; i < 3; i++)
		if (read(fd, bytes, sizeof(bytes)) != sizeof(bytes))
			return 1;
	lseek(fd, 0, SEEK_SET);
	lseek(fd, 0, SEEK_SET);
	if (argc == 2)
		close(fd);
	open("missing", O_RDONLY);
	raise(SIGKILL);
}
