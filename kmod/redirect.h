/* SPDX-License-Identifier: GPL-2.0 */
#ifndef REDIRECT_H
#define REDIRECT_H

#include <linux/types.h>

int redirect_install(long (*answer)(pid_t pid));
void redirect_remove(void);

#endif /* REDIRECT_H */
