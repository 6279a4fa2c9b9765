// SPDX-License-Identifier: GPL-2.0
/*
 * Make the kernel report a fault: echo NAME > /proc/faulty
 *
 * The fault happens in the process that writes, so that it is the one that the report names. A
 * barrier behind the last call of a function keeps the function in the call trace.
 * Only for a guest: most of these leave the kernel broken, some end it.
 */

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#ifdef CONFIG_KFENCE
#include <linux/kfence.h>
#endif

static unsigned int seconds = 30;
module_param(seconds, uint, 0600);
MODULE_PARM_DESC(seconds, "how long a fault lasts that keeps a processor or a task");

static noinline void null_dereference(void)
{
	int *volatile nowhere = NULL;

	nowhere[2] = 1;
}

static noinline void non_canonical(void)
{
	int *volatile nowhere = (int *)0xdead000000000100UL;

	*nowhere = 1;
}

static noinline void freed_page(void)
{
	char *page = vmalloc(PAGE_SIZE);

	vfree(page);
	vm_unmap_aliases();
	*(volatile char *)page = 1;
}

static noinline void not_executable(void)
{
	static int data;
	void (*volatile function)(void) = (void (*)(void))&data;

	function();
}

static noinline void bug(void)
{
	BUG();
}

static noinline void warn(void)
{
	WARN(1, "faulty: %d of %d is wrong\n", 1, 2);
}

static noinline void warn_on(void)
{
	WARN_ON(1);
}

static noinline void warn_once(void)
{
	WARN_ONCE(1, "faulty: this is said once\n");
}

static void warn_from(struct timer_list *unused)
{
	warn();
}

static noinline void warn_in_timer(void)
{
	static DEFINE_TIMER(timer, warn_from);

	mod_timer(&timer, jiffies + 1);
}

static noinline void divide(void)
{
	int result = 1;

	asm volatile("xor %%edx, %%edx\n\tdiv %1" : "+a" (result) : "r" (0) : "edx", "cc");
}

/* Not BUG(): the kernel knows nothing of this place. */
static noinline void invalid_opcode(void)
{
	asm volatile("ud2");
}

static noinline void spin(void)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end))
		cpu_relax();
}

static noinline void soft_lockup(void)
{
	preempt_disable();
	spin();
	preempt_enable();
}

/* Without interrupts jiffies may stand still. */
static noinline void hard_lockup(void)
{
	unsigned long flags;

	local_irq_save(flags);
	mdelay(seconds * 1000);
	local_irq_restore(flags);
}

static noinline void hung_task(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(seconds * HZ);
	barrier();
}

/* Twice at a time: the second waits for the first. */
static noinline void hung_on_mutex(void)
{
	static DEFINE_MUTEX(held);

	mutex_lock(&held);
	hung_task();
	mutex_unlock(&held);
}

static noinline void rcu_stall(void)
{
	rcu_read_lock();
	spin();
	rcu_read_unlock();
}

/* Beside one of the others: what waits for them may complain, too. */
static noinline void rcu_wait(void)
{
	synchronize_rcu();
}

static noinline void rcu_sleep(void)
{
	rcu_read_lock();
	hung_task();
	rcu_read_unlock();
}

static noinline void sleep_in_atomic(void)
{
	preempt_disable();
	msleep(20);
	preempt_enable();
}

static noinline void lock_in_atomic(void)
{
	static DEFINE_MUTEX(lock);

	preempt_disable();
	mutex_lock(&lock);
	mutex_unlock(&lock);
	preempt_enable();
}

static noinline void processor_in_preemptible(void)
{
	(void)smp_processor_id();
}

static noinline void list_corruption(void)
{
	static LIST_HEAD(list);
	static struct list_head entry;

	list_add(&entry, &list);
	list.next = NULL;
	list_del(&entry);
}

static noinline void refcount(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static noinline int stack_overflow(int depth)
{
	char frame[512];

	memset(frame, depth, sizeof(frame));
	OPTIMIZER_HIDE_VAR(depth);
	barrier_data(frame);
	if (depth == INT_MAX)
		return 0;
	return stack_overflow(depth + 1) + frame[depth % sizeof(frame)];
}

static void overflow_stack(void)
{
	stack_overflow(0);
}

static noinline void end_in_panic(void)
{
	panic("faulty: nothing goes on from here");
}

static noinline void use_after_free(void)
{
	char *object = kmalloc(100, GFP_KERNEL);

	kfree(object);
	*(volatile char *)object = 1;
}

static noinline void out_of_bounds(void)
{
	char *object = kmalloc(100, GFP_KERNEL);

	if (!object)
		return;
	OPTIMIZER_HIDE_VAR(object);
	((volatile char *)object)[100] = 1;
	kfree(object);
}

static noinline void double_free(void)
{
	char *volatile object = kmalloc(100, GFP_KERNEL);

	kfree(object);
	kfree(object);
	barrier();
}

static noinline void stack_out_of_bounds(void)
{
	char frame[16];
	char *beyond = frame;

	OPTIMIZER_HIDE_VAR(beyond);
	barrier_data(frame);
	(void)((volatile char *)beyond)[sizeof(frame)];
}

/* KFENCE takes an object in a while only; where the kernel lacks it, none. */
static char *object_of_kfence(void)
{
#ifdef CONFIG_KFENCE
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end)) {
		char *object = kmalloc(100, GFP_KERNEL);

		if (is_kfence_address(object) && offset_in_page(object) == 0)
			return object;
		kfree(object);
		cond_resched();
	}
#endif
	return NULL;
}

static noinline void kfence_use_after_free(void)
{
	char *object = object_of_kfence();

	if (!object)
		return;
	kfree(object);
	OPTIMIZER_HIDE_VAR(object);
	*(volatile char *)object = 1;
}

static noinline void kfence_out_of_bounds(void)
{
	char *object = object_of_kfence();

	if (!object)
		return;
	OPTIMIZER_HIDE_VAR(object);
	(void)((volatile char *)object)[-1];
	kfree(object);
}

static noinline void kfence_corruption(void)
{
	char *object = object_of_kfence();

	if (!object)
		return;
	OPTIMIZER_HIDE_VAR(object);
	((volatile char *)object)[100] = 1;
	kfree(object);
	barrier();
}

/* Of small ones some are kept before anybody checks them. */
#define BIG_ORDER 4

static noinline void bad_page(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, BIG_ORDER);

	if (!page)
		return;
	lock_page(page);
	__free_pages(page, BIG_ORDER);
}

static noinline void usercopy(void)
{
	volatile unsigned long too_much = 1000;
	char *object = kmalloc(100, GFP_KERNEL);

	if (!object)
		return;
	OPTIMIZER_HIDE_VAR(object);
	if (copy_to_user((void __user *)0x10000, object, too_much))
		pr_info("nobody has the address\n");
	kfree(object);
}

static noinline void string_overflow(void)
{
	static char small[8];
	static char *volatile large = "larger than that";

	strcpy(small, large);
}

static noinline void shift_out_of_bounds(void)
{
	volatile int bits = 32;
	volatile int value = 1;

	value <<= bits;
}

static void shift_from(struct timer_list *unused)
{
	shift_out_of_bounds();
}

static noinline void shift_in_timer(void)
{
	static DEFINE_TIMER(timer, shift_from);

	mod_timer(&timer, jiffies + 1);
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static noinline void circular_locking(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static noinline void inconsistent_locking(void)
{
	static DEFINE_SPINLOCK(lock);

	local_bh_disable();
	local_bh_enable();
	spin_lock(&lock);
	spin_unlock(&lock);
	local_irq_disable();
	lockdep_softirq_enter();
	spin_lock(&lock);
	spin_unlock(&lock);
	lockdep_softirq_exit();
	local_irq_enable();
}

static noinline void held_at_return(void)
{
	mutex_lock(&first);
}

static noinline void lock_without_key(void)
{
	spinlock_t lock;

	memset(&lock, 0, sizeof(lock));
	spin_lock(&lock);
	spin_unlock(&lock);
}

static noinline void suspicious_rcu(void)
{
	static int __rcu *pointer;

	(void)rcu_dereference(pointer);
}

static const struct {
	const char *name;
	void (*happens)(void);
} faults[] = {
	{ "null", null_dereference },
	{ "non_canonical", non_canonical },
	{ "freed_page", freed_page },
	{ "not_executable", not_executable },
	{ "bug", bug },
	{ "warn", warn },
	{ "warn_on", warn_on },
	{ "warn_once", warn_once },
	{ "warn_in_timer", warn_in_timer },
	{ "divide", divide },
	{ "invalid_opcode", invalid_opcode },
	{ "soft_lockup", soft_lockup },
	{ "hard_lockup", hard_lockup },
	{ "hung_task", hung_task },
	{ "hung_on_mutex", hung_on_mutex },
	{ "rcu_stall", rcu_stall },
	{ "rcu_wait", rcu_wait },
	{ "rcu_sleep", rcu_sleep },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "lock_in_atomic", lock_in_atomic },
	{ "processor_in_preemptible", processor_in_preemptible },
	{ "list", list_corruption },
	{ "refcount", refcount },
	{ "stack_overflow", overflow_stack },
	{ "panic", end_in_panic },
	{ "use_after_free", use_after_free },
	{ "out_of_bounds", out_of_bounds },
	{ "double_free", double_free },
	{ "stack_out_of_bounds", stack_out_of_bounds },
	{ "kfence_use_after_free", kfence_use_after_free },
	{ "kfence_out_of_bounds", kfence_out_of_bounds },
	{ "kfence_corruption", kfence_corruption },
	{ "bad_page", bad_page },
	{ "usercopy", usercopy },
	{ "string_overflow", string_overflow },
	{ "shift", shift_out_of_bounds },
	{ "shift_in_timer", shift_in_timer },
	{ "circular_locking", circular_locking },
	{ "inconsistent_locking", inconsistent_locking },
	{ "held_at_return", held_at_return },
	{ "lock_without_key", lock_without_key },
	{ "suspicious_rcu", suspicious_rcu },
};

static ssize_t faulty_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char name[32] = "";
	size_t fault;

	if (size >= sizeof(name) || copy_from_user(name, from, size))
		return -EINVAL;
	for (fault = 0; fault < ARRAY_SIZE(faults); fault++) {
		if (sysfs_streq(name, faults[fault].name)) {
			faults[fault].happens();
			return size;
		}
	}
	return -EINVAL;
}

static const struct proc_ops faulty_ops = {
	.proc_write = faulty_write,
};

static int __init faulty_init(void)
{
	return proc_create("faulty", 0200, NULL, &faulty_ops) ? 0 : -ENOMEM;
}
module_init(faulty_init);

static void __exit faulty_exit(void)
{
	remove_proc_entry("faulty", NULL);
}
module_exit(faulty_exit);

MODULE_DESCRIPTION("Faults on demand");
MODULE_LICENSE("GPL");
