"""Build the emulated machine that the end-to-end tests run in: Debian's kernel, v4l2loopback, a root on 9p."""

from __future__ import annotations

import gzip
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script

from avatarify_plus.errors import AvatarifyError
from avatarify_plus.program.command_line import ProgramParser, run_program

HERE = Path(__file__).resolve().parent
WANTED_MODULES = (
    "fs/9p/", "fs/netfs/", "fs/fscache/", "net/9p/", "drivers/virtio/", "drivers/media/v4l2-core/", "drivers/media/mc/",
    "drivers/media/test-drivers/vivid/", "drivers/media/common/v4l2-tpg/", "drivers/media/common/videobuf2/",
    "drivers/media/cec/", "drivers/media/rc/rc-core", "drivers/usb/usbip/", "drivers/usb/core/", "drivers/usb/common/",
    "drivers/media/usb/uvc/", "drivers/media/common/uvc",
)  # fmt: skip
COMMANDS = ("sh", "mount", "insmod", "modprobe", "depmod", "switch_root", "mkdir")


def default_folder() -> Path:
    """Return where the tests look for the machine."""
    from platformdirs import user_cache_path  # here, not above: a folder that is named needs no packages

    return user_cache_path("avatarify_plus") / "guest"


def build(folder: Path) -> None:
    """Leave `vmlinuz`, `initramfs.gz`, `busybox` and `v4l2loopback.ko` in a folder. Raises AvatarifyError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        version = _fetch(root)
        module = _compile_loopback(root, version)
        modules = root / "lib/modules" / version
        (folder / "vmlinuz").write_bytes((root / "boot" / f"vmlinuz-{version}").read_bytes())
        for source in (module, root / "bin/busybox"):
            target = folder / source.name
            target.write_bytes(source.read_bytes())
            target.chmod(0o755)
        (folder / "initramfs.gz").write_bytes(gzip.compress(_archive(dict(_files(root, modules, version))), 1))


def _fetch(root: Path) -> str:
    """Download and unpack the packages; return the kernel's version."""
    packages_of_kernel = _run("apt-cache", "depends", "linux-image-amd64")
    kernel = re.search(r"Depends: linux-image-(\S+)", packages_of_kernel)
    if kernel is None:
        raise AvatarifyError("this system's package lists do not name linux-image-amd64: apt-get update")
    version = kernel[1]
    common = version.removesuffix("-amd64") + "-common"
    kbuild = "linux-kbuild-" + ".".join(version.split(".")[:2])
    packages = [
        f"linux-image-{version}", f"linux-headers-{version}", f"linux-headers-{common}", kbuild,
        "v4l2loopback-dkms", "busybox-static",
    ]  # fmt: skip
    root.mkdir()
    _run("apt-get", "download", "-qq", *packages, folder=root)
    for package in sorted(root.glob("*.deb")):
        _run("dpkg", "-x", package, root)
    return version


def _compile_loopback(root: Path, version: str) -> Path:
    """Compile v4l2loopback against the unpacked headers, whose links point to where they would be installed."""
    headers = root / "usr/src" / f"linux-headers-{version}"
    for link in [path for tree in headers.parent.iterdir() for path in tree.iterdir() if path.is_symlink()]:
        target = link.readlink()
        if "kbuild" in str(target):
            link.unlink()
            link.symlink_to(next((root / "usr/lib").glob("linux-kbuild-*")) / target.name)
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{root}/usr/src/"))
    (source,) = (root / "usr/src").glob("v4l2loopback-*")
    _run("make", "-s", "-C", headers, f"M={source}", "modules")
    return source / "v4l2loopback.ko"


def _files(root: Path, modules: Path, version: str) -> Iterator[tuple[str, bytes | str]]:
    """Yield the files of the initramfs: names and contents; a string is the target of a link."""
    yield "init", (HERE / "init.sh").read_bytes()
    yield "bin/busybox", (root / "bin/busybox").read_bytes()
    for command in COMMANDS:
        yield f"bin/{command}", "busybox"
    for path in sorted(modules.rglob("*")):
        name = path.relative_to(modules).as_posix()
        if path.name.startswith("modules.") or (path.suffix == ".ko" and any(part in name for part in WANTED_MODULES)):
            yield f"lib/modules/{version}/{name}", path.read_bytes()


def _archive(files: dict[str, bytes | str]) -> bytes:
    """Return a cpio archive in the form that the kernel reads (newc)."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    folders |= {"proc", "sys", "dev", "host"}
    entries: list[tuple[str, int, bytes]] = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted(folders)]
    for name, content in files.items():
        is_link = isinstance(content, str)
        data = content.encode() if isinstance(content, str) else content
        entries.append((name, (stat.S_IFLNK if is_link else stat.S_IFREG) | 0o755, data))
    entries.append(("TRAILER!!!", 0, b""))
    parts = []
    for number, (name, mode, data) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = ("070701" + "".join(f"{field:08x}" for field in fields) + name + "\0").encode()
        parts += [header, b"\0" * (-len(header) % 4), data, b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def _run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command in a folder and return what it prints. Raises AvatarifyError if it is missing or fails."""
    try:
        return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise AvatarifyError(f"{' '.join(map(str, command))} failed ({error}); it needs Debian or Ubuntu") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Build it, and return an exit code."""
    parser = ProgramParser(
        "python tests/e2e/guest_image.py",
        "Build the emulated machine that the end-to-end tests run in.\n\n"
        "Needs Debian or Ubuntu with apt-get, gcc and make; installs nothing, fetches packages by `apt-get download`.",
        has_verbose=False,
    )
    parser.add_argument("folder", nargs="?", type=Path, help="where to leave it (default: where the tests look for it)")
    options = parser.parse_args(arguments)

    def work() -> None:
        folder = options.folder or default_folder()
        build(folder)
        print(f"built {folder}")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
