// SPDX-License-Identifier: GPL-2.0
/* A module that no kernel can load: it calls what nothing exports. */

#include <linux/init.h>
#include <linux/module.h>

int exported_by_nobody(void);

static int __init unresolved_init(void)
{
	return exported_by_nobody();
}
module_init(unresolved_init);

MODULE_DESCRIPTION("A module with an unknown symbol");
MODULE_LICENSE("GPL");
