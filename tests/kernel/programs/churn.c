// SPDX-License-Identifier: GPL-2.0
/*
 * churn ROUNDS FILE...: load modules in this order and unload them in the reverse, over and over.
 *
 * An unload that the kernel refuses because the module is in use is tried again; anything else that
 * fails ends the program with an error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct module {
	char *name;
	char *image;
	size_t size;
};

static void require(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

static struct module read_module(char *path)
{
	int fd = open(path, O_RDONLY);
	struct module module;
	struct stat status;

	require(fd >= 0 && !fstat(fd, &status), path);
	module.size = status.st_size;
	module.image = malloc(module.size);
	require(read(fd, module.image, module.size) == status.st_size, path);
	close(fd);
	module.name = basename(path);
	*strchr(module.name, '.') = '\0';
	return module;
}

static void unload(const struct module *module)
{
	int err;

	do {
		err = syscall(SYS_delete_module, module->name, O_NONBLOCK);
	} while (err && (errno == EAGAIN || errno == EWOULDBLOCK));
	require(!err, module->name);
}

int main(int argc, char **argv)
{
	struct module modules[argc];
	int count = argc - 2;

	for (int i = 0; i < count; i++)
		modules[i] = read_module(argv[2 + i]);
	for (int round = atoi(argv[1]); round; round--) {
		for (int i = 0; i < count; i++)
			require(!syscall(SYS_init_module, modules[i].image, modules[i].size, ""),
				modules[i].name);
		for (int i = count; i--;)
			unload(&modules[i]);
	}
	return EXIT_SUCCESS;
}
