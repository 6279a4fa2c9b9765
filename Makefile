# make run     watch a real kernel trace programs, and look at the report
# make test    run every check and every test
# make unit    run the tests that take seconds
# make lint    check style and types
# make kernel  build the kernel that has the system call os_ftrace; prints its folder
# make clean   remove what was made here
#
# make test-kernels                       test the modules on every kernel (an hour or more)
# make test-kernels KERNELS="5.10 6.12"   on some of them: see docs/kernels.md
# make bench-kernel                       measure what traces cost: docs/performance.md
# make torture                            kill a watch a thousand times: docs/losses.md
# make bench-logs                         measure how fast logs are imported, at rest: the same page
# make bench-live                         measure what a watch takes, and how soon it tells: the same page
# make bench-report                       measure how long reports take: the same page
# make bench-lab                          measure reports on labs of up to 1,000 hosts: the same page
# make bench-page                         measure a report's page in Chromium: the same page
# make screenshots                        make the pictures of a report that the README shows
# make fuzz                               look for logs that break the import, for FUZZ_SECONDS (300)
#
# What is missing is installed: Debian packages (as root) and, into .venv, Python packages.

PYTHON ?= /usr/bin/python3

PYTHON_PACKAGES := python3 python3-venv
MODULE_PACKAGES := gcc libc6-dev make kmod libudev1
GUEST_PACKAGES := $(MODULE_PACKAGES) busybox-static cpio file qemu-system-x86 \
	linux-image-amd64 linux-headers-amd64
TEST_PACKAGES := $(GUEST_PACKAGES) mmdebstrap perl sparse systemd-journal-remote \
	iproute2 logrotate openssl rsync rsyslog rsyslog-relp libreoffice-calc-nogui
KERNEL_PACKAGES := linux-source-6.1 bc bison cpio flex libelf-dev libssl-dev patch rsync xz-utils
BENCH_PACKAGES := $(GUEST_PACKAGES) bpftrace linux-perf strace
LOG_BENCH_PACKAGES := ripgrep
BROWSER_PACKAGES := chromium chromium-driver

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run test test-kernels unit lint kernel bench-kernel torture bench-logs bench-live bench-report bench-lab bench-page screenshots fuzz clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

run: .venv/run
	@.ci/install $(GUEST_PACKAGES) || echo "Going on without a virtual machine." >&2
	@python -m logtrace.demo

test: export LOGTRACE_REQUIRE_ALL := 1
test: lint kernel
	@.ci/install $(TEST_PACKAGES) $(BROWSER_PACKAGES)
	pytest --numprocesses=auto --dist=loadgroup --durations=25 --durations-min=5

test-kernels: .venv/dev
	@.ci/install $(TEST_PACKAGES) $(KERNEL_PACKAGES)
	python tests/kernel/matrix.py $(KERNELS)

unit: .venv/dev
	@.ci/install $(MODULE_PACKAGES)
	pytest -m "not kernel and not browser"

lint: .venv/dev
	ruff check
	ruff format --check
	mypy

kernel: .venv/dev
	@.ci/install $(MODULE_PACKAGES) $(KERNEL_PACKAGES)
	kmod/kernel/build

torture: .venv/dev
	@.ci/install $(GUEST_PACKAGES)
	python tests/torture/torture.py $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

bench-kernel: .venv/dev
	@.ci/install $(BENCH_PACKAGES)
	python bench/kernel.py

bench-logs: .venv/dev
	@.ci/install $(LOG_BENCH_PACKAGES)
	python bench/logs.py

bench-live: .venv/dev
	@.ci/install $(GUEST_PACKAGES)
	python bench/live.py

bench-report: .venv/dev
	python bench/report.py

# The store's size a host matters as well: the second time, each host has as many runs.
bench-lab: .venv/dev
	python bench/lab_scale.py
	python bench/lab_scale.py --a-host --runs 10000
	python bench/requests.py

bench-page: .venv/dev
	@.ci/install $(BROWSER_PACKAGES)
	python bench/page.py

screenshots: .venv/dev
	@.ci/install $(BROWSER_PACKAGES)
	python bench/screenshots.py

FUZZ_SECONDS ?= 300

# What it finds goes to out/fuzz; what it starts from is committed.
fuzz: .venv/fuzz
	@mkdir -p out/fuzz
	cd out/fuzz && python $(CURDIR)/tests/fuzz/import_log.py . -max_total_time=$(FUZZ_SECONDS)

# The stamps say which extras the environment has; a change of setup.cfg installs again.
.venv/run: setup.cfg pyproject.toml | .venv/bin/python
	@echo "Installing logtrace and what it requires into .venv" >&2
	@python -m pip install --quiet --disable-pip-version-check --editable '.[vm]'
	@touch $@

.venv/dev: setup.cfg pyproject.toml | .venv/bin/python
	@echo "Installing logtrace and what its development requires into .venv" >&2
	@python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/run $@

.venv/fuzz: .venv/dev
	@python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/install $(PYTHON_PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit("logtrace needs Python 3.11 or later: make PYTHON=PATH" \
		if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
