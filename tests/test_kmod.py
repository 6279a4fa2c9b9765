import errno
import os
import shutil

import pytest

from logtrace import kmod
from logtrace.errors import KernelModuleError

# Stands in for kbuild: leaves the files that a real build leaves, and a count of its runs.
MAKEFILE = """\
modules:
\techo run >> $(COUNT)
\tcp hook.c os_ftracehooking.ko
\tcp hook.c ftracehooking.ko
\tcp $(KDIR)/.config iotracehooking.ko
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Give a kernel build tree, with small sources and an empty cache in force."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "Kbuild").write_text("obj-m += hook.o\n")
    (sources / "Makefile").write_text(MAKEFILE)
    (sources / "hook.c").write_text("int hook;\n")
    monkeypatch.setattr(kmod, "source", lambda: sources)
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    tree = tmp_path / "lib/modules/6.1.0-1-amd64/build"
    (tree / "include/config").mkdir(parents=True)
    (tree / "Makefile").write_text("")
    (tree / ".config").write_text("CONFIG_KPROBES=y\n")
    return tree


def runs_of_make(tmp_path):
    return (tmp_path / "count").read_text().count("run")


def test_the_sources_are_where_the_package_is():
    assert (kmod.source() / "Kbuild").is_file()
    assert (kmod.source() / "Makefile").is_file()


def test_a_build_gives_one_file_for_each_module(tree):
    folder = kmod.build(tree)
    assert {path.stem for path in folder.glob("*.ko")} == set(kmod.MODULES)


def test_a_second_build_does_not_run_make(tree, tmp_path):
    assert kmod.build(tree) == kmod.build(tree)
    assert runs_of_make(tmp_path) == 1


def test_the_sources_are_not_written_to(tree):
    before = sorted(os.listdir(kmod.source()))
    kmod.build(tree)
    assert sorted(os.listdir(kmod.source())) == before


@pytest.mark.parametrize("changed", ["sources/hook.c", "lib/modules/6.1.0-1-amd64/build/.config"])
def test_a_change_of_sources_or_kernel_builds_again(tree, tmp_path, changed):
    first = kmod.build(tree)
    (tmp_path / changed).write_text("int changed;\n")
    second = kmod.build(tree)
    assert first != second
    assert runs_of_make(tmp_path) == 2


def test_what_a_build_by_hand_left_changes_nothing(tree):
    first = kmod.build(tree)
    for name in ("hook.o", "hook.ko", ".hook.o.cmd", "Module.symvers"):
        (kmod.source() / name).write_text("by hand")
    assert kmod.build(tree) == first


def test_nothing_is_built_before_the_first_build(tree):
    assert kmod.built(tree) is None
    folder = kmod.build(tree)
    assert kmod.built(tree) == folder


def test_a_failed_build_tells_the_end_of_make_s_output_and_keeps_nothing(tree, tmp_path):
    (kmod.source() / "Makefile").write_text("modules:\n\t@echo hook.c:1: no such thing; exit 1\n")
    with pytest.raises(KernelModuleError, match=r"hook\.c:1: no such thing") as raised:
        kmod.build(tree)
    assert "linux-headers-6.1.0-1-amd64" in raised.value.remedy
    assert kmod.built(tree) is None


def test_missing_headers_are_told_with_their_package(tmp_path):
    with pytest.raises(KernelModuleError, match="no kernel headers") as raised:
        kmod.build(tmp_path / "lib/modules/6.1.0-56-amd64/build")
    assert raised.value.remedy == "apt-get install linux-headers-6.1.0-56-amd64"


def test_a_missing_compiler_is_told_with_its_package(tree, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/make").symlink_to(shutil.which("make"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(KernelModuleError, match="gcc not found") as raised:
        kmod.build(tree)
    assert raised.value.remedy == "apt-get install gcc"


BUILD_ID = bytes.fromhex("0400000014000000 03000000474e5500 a94a8fe5ccb19ba61c4c0873d391e987")


class Kernel:
    """A kernel that loads what it is given, in a machine's files below `root`."""

    def __init__(self, root):
        self.root = root
        self.calls = []
        self.refusals = {}

    def insert(self, file, parameters):
        self.calls.append((file.name, parameters))
        self._refuse(file.stem)
        here = self.root / "sys/module" / file.stem
        (here / "holders").mkdir(parents=True)
        (here / "initstate").write_text("live\n")
        (here / "refcnt").write_text("0\n")
        (here / "version").write_text("0.1.0\n")
        (here / "notes").mkdir()
        (here / "notes/.note.gnu.build-id").write_bytes(BUILD_ID)
        (here / "parameters").mkdir()
        for parameter in parameters.split():
            name, value = parameter.split("=")
            (here / "parameters" / name).write_text(f"{value}\n")

    def delete(self, name):
        self.calls.append(("delete", name))
        self._refuse(name)
        shutil.rmtree(self.root / "sys/module" / name)

    def _refuse(self, name):
        if name in self.refusals:
            code, said = self.refusals[name]
            with (self.root / "dev/kmsg").open("a") as log:
                log.write(said)
            raise OSError(code, os.strerror(code))


@pytest.fixture
def kernel(tmp_path):
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev/kmsg").write_text("6,1,100,-;printed before\n")
    return Kernel(root)


@pytest.fixture
def modules(tmp_path):
    """Give a folder with module files as far as logtrace reads them."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name in kmod.MODULES:
        (folder / f"{name}.ko").write_bytes(b"\x7fELF" + BUILD_ID + b"\0description=trace\0")
    with (folder / "ftracehooking.ko").open("ab") as file:
        file.write(b"parm=owner:id in the stats line\0parmtype=owner:charp\0parm=nr:number\0")
        file.write(b"parm=wide:more calls\0parm=detail:files\0parm=follow:children\0")
        file.write(b"parm=files:most files\0parmtype=files:uint\0")
    return folder


def load(folder, kernel, **options):
    return kmod.load(
        folder, root=kernel.root, insert=kernel.insert, delete=kernel.delete, **options
    )


def unload(kernel, *names):
    return kmod.unload(*names, root=kernel.root, delete=kernel.delete)


def test_the_parent_is_loaded_before_the_child(modules, kernel):
    assert load(modules, kernel) == ("ftracehooking", "iotracehooking")
    assert kernel.calls == [("ftracehooking.ko", ""), ("iotracehooking.ko", "")]


def test_the_owner_goes_to_the_module_that_has_the_parameter(modules, kernel):
    load(modules, kernel, owner="2021202045")
    assert kernel.calls == [("ftracehooking.ko", "owner=2021202045"), ("iotracehooking.ko", "")]


def test_another_number_can_be_asked_for(modules, kernel):
    load(modules, kernel, owner="2021202045", number=400)
    assert kernel.calls[0] == ("ftracehooking.ko", "owner=2021202045 nr=400")
    assert kmod.status(root=kernel.root)[1].number == 400


@pytest.mark.parametrize("owner", ["", "a b", 'x" dyndbg', "a]\n", "x" * 64, "ä"])
def test_an_owner_that_could_break_a_line_is_refused(modules, kernel, owner):
    with pytest.raises(KernelModuleError, match="not usable"):
        load(modules, kernel, owner=owner)
    assert kernel.calls == []


def test_what_traces_do_of_themselves_can_be_asked_for(modules, kernel):
    load(modules, kernel, wide=True, detail=True, follow=True, files=4096)
    assert kernel.calls[0] == ("ftracehooking.ko", "files=4096 wide=Y detail=Y follow=Y")
    assert kernel.calls[1] == ("iotracehooking.ko", "")
    status = kmod.status(root=kernel.root)[1]
    assert (status.wide, status.detail, status.follow, status.files) == (True, True, True, 4096)


def test_more_calls_are_refused_while_a_module_that_counts_fewer_is_loaded(modules, kernel):
    load(modules, kernel)
    (kernel.root / "sys/module/ftracehooking/parameters/wide").write_text("N\n")
    with pytest.raises(KernelModuleError, match="already loaded with wide=N"):
        load(modules, kernel, wide=True)


def test_no_number_at_all_can_be_asked_for(modules, kernel):
    load(modules, kernel, number=0)
    assert kernel.calls[0] == ("ftracehooking.ko", "nr=0")
    assert kmod.status(root=kernel.root)[1].number == 0


def test_status_tells_whether_the_device_is_there(modules, kernel):
    load(modules, kernel)
    assert [module.device for module in kmod.status(root=kernel.root)] == [None, False, None]
    (kernel.root / "dev/os_ftrace").write_text("")
    assert kmod.status(root=kernel.root)[1].device is True


def test_what_is_loaded_already_stays(modules, kernel):
    load(modules, kernel, owner="2021202045")
    assert load(modules, kernel) == ()
    assert load(modules, kernel, owner="2021202045") == ()


def test_another_owner_is_refused_while_the_module_is_loaded(modules, kernel):
    load(modules, kernel, owner="2021202045")
    with pytest.raises(KernelModuleError, match="already loaded with owner=2021202045") as raised:
        load(modules, kernel, owner="2021202046")
    assert "kmod unload" in raised.value.remedy


def test_the_hook_of_the_first_exercise_is_loaded_alone(modules, kernel):
    assert load(modules, kernel, module="os_ftracehooking") == ("os_ftracehooking",)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EPERM, "as root"),
        (errno.ENOEXEC, "kmod build"),
        (errno.EKEYREJECTED, "signed"),
        (errno.ENOSYS, "another kernel"),
    ],
)
def test_a_refusal_tells_the_kernel_s_words_and_a_remedy(modules, kernel, code, remedy):
    kernel.refusals["ftracehooking"] = (code, "3,2,101,-;ftracehooking: no hook\n DEVICE=none\n")
    with pytest.raises(KernelModuleError) as raised:
        load(modules, kernel)
    assert raised.value.message == (
        f"ftracehooking can't be loaded: {os.strerror(code)}; "
        "the kernel says: ftracehooking: no hook"
    )
    assert remedy in raised.value.remedy


def test_a_refusal_is_told_where_the_kernel_s_log_cannot_be_read(modules, kernel):
    def insert(file, parameters):
        raise PermissionError(errno.EPERM, "not permitted")

    kernel.root.joinpath("dev/kmsg").unlink()
    kernel.insert = insert
    with pytest.raises(KernelModuleError) as raised:
        load(modules, kernel)
    assert raised.value.message == "ftracehooking can't be loaded: Operation not permitted"


def test_a_parent_does_not_stay_when_its_child_is_refused(modules, kernel):
    kernel.refusals["iotracehooking"] = (errno.EBUSY, "")
    with pytest.raises(KernelModuleError, match="iotracehooking can't be loaded"):
        load(modules, kernel)
    assert kernel.calls[-1] == ("delete", "ftracehooking")
    assert not any(module.loaded for module in kmod.status(root=kernel.root))


def test_a_parent_that_was_loaded_before_stays_when_its_child_is_refused(modules, kernel):
    kernel.insert(modules / "ftracehooking.ko", "")
    kernel.refusals["iotracehooking"] = (errno.EBUSY, "")
    with pytest.raises(KernelModuleError):
        load(modules, kernel)
    assert kmod.status(root=kernel.root)[1].loaded


def test_a_module_that_was_not_built_is_told(tmp_path, kernel):
    with pytest.raises(KernelModuleError, match=r"no module .*/ftracehooking.ko") as raised:
        load(tmp_path, kernel)
    assert "kmod build" in raised.value.remedy


def test_the_child_is_unloaded_before_the_parent(modules, kernel):
    load(modules, kernel)
    assert unload(kernel) == ("iotracehooking", "ftracehooking")


def test_unloading_what_is_not_loaded_does_nothing(kernel):
    assert unload(kernel) == ()
    assert unload(kernel, "ftracehooking") == ()
    assert kernel.calls == []


def test_a_module_in_use_is_told_with_its_users(modules, kernel):
    load(modules, kernel)
    (kernel.root / "sys/module/ftracehooking/holders/iotracehooking").mkdir()
    kernel.refusals["ftracehooking"] = (errno.EAGAIN, "")
    with pytest.raises(KernelModuleError, match="in use by iotracehooking") as raised:
        unload(kernel, "ftracehooking")
    assert "end what uses it" in raised.value.remedy


def test_status_tells_every_module(modules, kernel):
    load(modules, kernel, owner="2021202045")
    (kernel.root / "sys/module/ftracehooking/holders/iotracehooking").mkdir()
    (kernel.root / "sys/module/ftracehooking/refcnt").write_text("1\n")
    assert kmod.status(modules, root=kernel.root) == [
        kmod.ModuleStatus("os_ftracehooking", loaded=False),
        kmod.ModuleStatus(
            "ftracehooking",
            loaded=True,
            refcount=1,
            users=("iotracehooking",),
            owner="2021202045",
            version="0.1.0",
            matches=True,
            device=False,
        ),
        kmod.ModuleStatus(
            "iotracehooking",
            loaded=True,
            refcount=0,
            version="0.1.0",
            matches=True,
        ),
    ]


def test_status_tells_a_loaded_module_that_is_not_the_built_file(modules, kernel):
    load(modules, kernel)
    (modules / "ftracehooking.ko").write_bytes(b"\x7fELF" + BUILD_ID[::-1])
    assert kmod.status(modules, root=kernel.root)[1].matches is False


def test_status_does_not_guess_where_nothing_was_built(modules, kernel, tmp_path):
    load(modules, kernel)
    assert kmod.status(tmp_path, root=kernel.root)[1].matches is None
    assert kmod.status(root=kernel.root)[1].matches is None


def test_a_module_that_is_still_coming_is_not_loaded(modules, kernel):
    load(modules, kernel)
    (kernel.root / "sys/module/ftracehooking/initstate").write_text("coming\n")
    assert not kmod.status(root=kernel.root)[1].loaded
