"""C that the machine's own compiler builds once for its processor.

Libraries are kept in the user's cache, in a folder that nobody else can write to, under a name that
depends on the source, the compiler and the processor. `NMT_NATIVE=0` in the environment leaves all
compiled code out; what it does is then done by PyTorch's operations, as it is where there is no
compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

# Without the second and third, compilers do not vectorise loops with comparisons and roundings.
FLAGS = "-O3 -fno-math-errno -fno-trapping-math -fno-strict-aliasing -ffp-contract=fast"
SHARED = "-std=gnu11 -shared -fPIC"
OPTIONAL = ("-march=native", "-fopenmp")  # that some compilers do not have


def compiled(purpose: str, source: Path | str, files: tuple[Path, ...] = ()) -> ctypes.CDLL | None:
    """The library of a C file, or of C as text; None where it cannot be built, which is logged.
    `purpose` is what it is for, in the plural; `files` are all files that it depends on, and C as
    text may include those of the first one's folder."""
    compiler = _compiler(purpose)
    if compiler is None:
        return None
    try:
        return _load(compiler, source, files)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning(
            "%s cannot build the code for %s, and PyTorch's slower operations are used instead: %s",
            compiler,
            purpose,
            getattr(error, "stderr", None) or error,
        )
        return None


def _compiler(purpose: str) -> str | None:
    """The command of the C compiler; None where there is none, or it must not be used."""
    if os.environ.get("NMT_NATIVE") == "0":
        return None
    found = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if found is None:
        _say(f"{purpose.capitalize()} are computed faster where there is a C compiler (cc).")
    return found


@cache
def _say(message: str) -> None:
    """Log something once."""
    logger.info("%s", message)


def _load(compiler: str, source: Path | str, files: tuple[Path, ...]) -> ctypes.CDLL:
    """The library from the cache, or built; without a cache that is ours alone, built each time."""
    command = shlex.split(compiler)
    name = f"{_key(command, source, files)}.so"
    folder = _cache_folder()
    if folder is not None and (folder / name).exists():
        return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / name
        if isinstance(source, str):
            text, source = source, Path(scratch) / "source.c"
            source.write_text(text, encoding="utf-8")
        _build(command, source, built, files[0].parent if files else source.parent)
        if folder is None:
            return ctypes.CDLL(str(built))  # it stays loaded when its file is gone
        built.replace(folder / name)  # atomically: other processes may do the same
    return ctypes.CDLL(str(folder / name))


def _build(compiler: list[str], source: Path, target: Path, included: Path) -> None:
    """Compile with as many of the optional flags as the compiler takes."""
    command = [*compiler, *FLAGS.split(), *SHARED.split(), f"-I{included}", str(source)]
    command += ["-o", str(target), "-lm"]
    for left_out in range(len(OPTIONAL)):
        flags = OPTIONAL[: len(OPTIONAL) - left_out]
        if not subprocess.run([*command, *flags], capture_output=True, check=False).returncode:
            return
    subprocess.run(command, check=True, capture_output=True, text=True)


def _key(compiler: list[str], source: Path | str, files: tuple[Path, ...]) -> str:
    """Everything that a library depends on."""
    digest = hashlib.sha256()
    if isinstance(source, str):
        digest.update(source.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        lines = processor.read_text().splitlines()
        names = ("model name", "flags", "Features", "CPU part")
        digest.update("\n".join(sorted({x for x in lines if x.startswith(names)})).encode())
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True).stdout
    parts = (FLAGS, SHARED, *OPTIONAL, platform.platform(), *compiler)
    digest.update(b"\0".join([version, *(part.encode() for part in parts)]))
    return digest.hexdigest()[:32]


def _cache_folder() -> Path | None:
    """A folder that only this user can write to, since code is loaded from it; None if there is
    none."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "pipeline-nmt" / "native"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # the latter where the user has no home
        return None
    private = not status.st_mode & 0o022 and (
        not hasattr(os, "getuid") or status.st_uid == os.getuid()
    )
    return folder if private and os.access(folder, os.W_OK) else None
