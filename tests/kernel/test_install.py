"""What ``make install`` leaves: modules that modprobe finds, in their order, with parameters."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from contract_lines import ops, run_of, stats, without_pids
from kernels import KMOD, need, stock_kernel

from logtrace import kmod
from logtrace.errors import GuestError

pytestmark = pytest.mark.kernel


def make(sources, tree, target, folder, **variables):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    assigned = {"KDIR": tree, "DESTDIR": folder} | variables
    done = subprocess.run(
        ["make", "-C", sources, target, *(f"{name}={value}" for name, value in assigned.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=inherited | {"LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stdout


def release_of(tree):
    text = (tree / "include/generated/utsrelease.h").read_text()
    return re.search(r'UTS_RELEASE "(.*)"', text)[1]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folder as it is in the repository, without what was built in it."""
    folder = tmp_path_factory.mktemp("kmod") / "kmod"
    shutil.copytree(KMOD, folder, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.cmd", "*.mod*"))
    return folder


@pytest.fixture(scope="module")
def tree():
    try:
        return stock_kernel()[1]
    except GuestError as error:
        need(str(error))


@pytest.fixture(scope="module")
def installed(sources, tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    make(sources, tree, "install", folder)
    return folder


def modprobe(folder, tree, *arguments, configuration="/nonexistent"):
    command = ["modprobe", "-d", folder, "-S", release_of(tree), "-C", configuration, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def modules_of(output):
    return re.findall(r"insmod \S*/(\w+)\.ko *(.*?) *$", output, re.MULTILINE)


def test_the_counter_comes_with_the_module_that_it_needs(installed, tree):
    found = modprobe(installed, tree, "--show-depends", "iotracehooking")
    assert modules_of(found) == [("ftracehooking", ""), ("iotracehooking", "")]


def test_the_hook_of_the_first_exercise_comes_alone(installed, tree):
    found = modprobe(installed, tree, "--show-depends", "os_ftracehooking")
    assert modules_of(found) == [("os_ftracehooking", "")]


def test_the_example_of_a_configuration_is_understood_line_by_line(installed, tree, tmp_path):
    example = installed / "usr/local/share/doc/logtrace/examples/modprobe.d/logtrace.conf"
    found = modprobe(
        installed, tree, "--show-depends", "iotracehooking", configuration=example.parent
    )
    assert modules_of(found) == [("ftracehooking", ""), ("iotracehooking", "")]
    active = re.sub(r"^#(?=options|softdep)", "", example.read_text(), flags=re.MULTILINE)
    (tmp_path / "logtrace.conf").write_text(active)
    found = modprobe(installed, tree, "--show-depends", "iotracehooking", configuration=tmp_path)
    given = "owner=2021202045 nr=0 wide=1 detail=1 follow=1 files=1024"
    assert modules_of(found) == [("ftracehooking", given), ("iotracehooking", "")]
    taken = modprobe(installed, tree, "--show-depends", "ftracehooking", configuration=tmp_path)
    assert ("iotracehooking", "") in modules_of(taken)


def test_programs_find_the_header_of_the_device(installed):
    header = (installed / "usr/local/include/os_ftrace.h").read_text()
    assert header == (KMOD / "os_ftrace.h").read_text()


def test_modules_tell_what_they_are_and_take(installed, tree):
    folder = installed / "lib/modules" / release_of(tree) / "updates/logtrace"
    for name in kmod.MODULES:
        told = subprocess.run(
            ["modinfo", folder / f"{name}.ko"], stdout=subprocess.PIPE, check=True, text=True
        ).stdout
        fields = dict(re.findall(r"^(\w+): +(.*)$", told, re.MULTILINE))
        assert fields["license"] == "GPL"
        assert fields.keys() >= {"version", "description", "author", "srcversion"}
        assert fields["depends"] == ",".join(kmod.NEEDS.get(name, ()))


def test_what_is_uninstalled_is_gone(sources, tree, tmp_path):
    make(sources, tree, "install", tmp_path)
    make(sources, tree, "uninstall", tmp_path)
    ours = [path for path in tmp_path.rglob("*") if path.is_file() and "modules." not in path.name]
    assert ours == []
    index = tmp_path / "lib/modules" / release_of(tree) / "modules.dep"
    assert index.read_text() == ""


def test_modules_are_signed_with_the_key_that_is_given(sources, tree, tmp_path):
    need(None if shutil.which("openssl") else "openssl is not installed (apt-get install openssl)")
    key, certificate = tmp_path / "MOK.priv", tmp_path / "MOK.der"
    subprocess.run(
        [
            *("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7"),
            *("-subj", "/CN=our lab/", "-outform", "DER", "-keyout", key, "-out", certificate),
        ],
        stderr=subprocess.DEVNULL,
        check=True,
    )
    folder = tmp_path / "root"
    make(sources, tree, "install", folder, SIGN_KEY=key, SIGN_CERT=certificate)
    for module in (folder / "lib/modules").rglob("*.ko"):
        told = subprocess.run(["modinfo", "-F", "signer", module], stdout=subprocess.PIPE)
        assert told.stdout == b"our lab\n"


def test_modprobe_loads_the_pair_with_the_parameters_of_the_configuration(
    machine, kernel, sources, tmp_path
):
    if kernel.root or kernel.tree.parent != Path("/lib/modules") / machine.release:
        pytest.skip("this kernel's modules are not installed on this machine")
    folder = machine.folder / "installed"
    make(sources, kernel.tree, "install", folder)
    (folder / "etc").mkdir()
    (folder / "etc/logtrace.conf").write_text("options ftracehooking owner=77\n")
    command = f"modprobe -d {folder} -C {folder}/etc"
    machine.run(f"{command} iotracehooking")
    machine.calls("start", "end")
    machine.run(f"{command} -r iotracehooking")
    assert without_pids(machine.texts()) == run_of(stats(owner="77"), ops())
    assert machine.run("test -e /sys/module/ftracehooking", check=False).returncode == 1
