"""How the kernel that ``--kernel`` names is found."""

from pathlib import Path

import kernels
import pytest

from logtrace.errors import LogtraceError


def test_an_image_in_a_build_tree_takes_the_tree(tmp_path):
    image = tmp_path / "arch/x86/boot/bzImage"
    assert kernels.find(str(image)) == kernels.Kernel(image, tmp_path)


@pytest.mark.parametrize("place", ["vmlinuz-9.9.9-lab", "9.9.9-lab/vmlinuz"])
def test_an_installed_image_takes_the_headers_of_its_release(tmp_path, monkeypatch, place):
    image = tmp_path / place
    image.parent.mkdir(exist_ok=True)
    image.touch()
    headers = tmp_path / "lib/modules/9.9.9-lab/build"
    headers.mkdir(parents=True)
    monkeypatch.setattr(kernels, "MODULES", tmp_path / "lib/modules")
    assert kernels.find(str(image)) == kernels.Kernel(image, headers)


@pytest.mark.parametrize("name", ["5.11", "/boot/vmlinuz-9.9.9-lab"])
def test_what_is_neither_a_name_nor_an_image_lists_the_names(name):
    with pytest.raises(LogtraceError, match=Path(name).name) as caught:
        kernels.find(name)
    assert "5.10, 6.1, 6.12, newest, patched, sanitizer" in caught.value.remedy
