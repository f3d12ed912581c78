#!/usr/bin/env python3
"""Check what would be published: the wheel's size and contents, the sdist's contents, the editable install.

Runs in an environment where gorgo is installed from this tree.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WHEEL_LIMIT_BYTES = 5_000_000
IN_SDIST = ("CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md", "csrc/core/check.h", "python/gorgo/__init__.py")
NOT_IN_SDIST = ("build/", ".ci/", ".github/", "dist/", ".git/")


def installed_wheel_bytes() -> int:
    """Pack the installed files as a wheel packs them and return the size, after judging what they are."""
    distribution = importlib.metadata.distribution("gorgo")
    files = [file for file in distribution.files or [] if file.suffix != ".pyc"]
    names = [str(file) for file in files]
    stray = [name for name in names if not name.startswith(("gorgo/", "gorgo-"))]
    if stray or not any("_core" in name and name.endswith((".so", ".pyd")) for name in names):
        sys.exit(f"package: expected the gorgo folder and its metadata, got {sorted(names)}")
    with tempfile.TemporaryDirectory() as folder:
        archive = pathlib.Path(folder) / "wheel.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in files:
                packed.write(str(file.locate()), str(file))
        return archive.stat().st_size


def check_sdist(folder: pathlib.Path) -> None:
    """Build an sdist and judge its contents."""
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("gorgo-*.tar.gz")
    with tarfile.open(archive) as packed:
        names = [name.partition("/")[2] for name in packed.getnames()]
    missing = [name for name in IN_SDIST if name not in names]
    stray = [name for name in names if name.startswith(NOT_IN_SDIST) or name.endswith((".so", ".o", ".pyc"))]
    if missing or stray:
        sys.exit(f"package: sdist lacks {missing} and should not hold {stray[:10]}")
    print(f"sdist: {archive.stat().st_size / 1e3:.0f} kB, {len(names)} files")


def check_editable(folder: pathlib.Path) -> None:
    """Install in editable mode into an environment of its own and import from this tree."""
    venv.create(folder / "venv", with_pip=True, system_site_packages=False)
    python = folder / "venv" / "bin" / "python"
    # The options of .ci/run's own installation, so that ccache has the objects.
    options = ["-C", "cmake.define.GORGO_WERROR=ON", "-C", "cmake.define.GORGO_AMX=OFF"]
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *options, "-e", str(ROOT)], check=True)
    code = "import gorgo; print(gorgo.__file__)"
    where = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=folder).stdout.strip()
    if pathlib.Path(where) != ROOT / "python" / "gorgo" / "__init__.py":
        sys.exit(f"package: an editable install must import from the tree, got {where}")
    print("editable: imports from the tree")


def main() -> None:
    """Run the three checks."""
    size = installed_wheel_bytes()
    print(f"wheel: {size / 1e6:.2f} MB of {WHEEL_LIMIT_BYTES / 1e6:.0f} MB", flush=True)
    if size > WHEEL_LIMIT_BYTES:
        sys.exit("package: the wheel is over its limit")
    with tempfile.TemporaryDirectory() as folder:
        check_sdist(pathlib.Path(folder))
        check_editable(pathlib.Path(folder))


if __name__ == "__main__":
    main()
