#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run Clyra's tests or its quickstart from a bare checkout: ``python3 bootstrap.py test`` or ``... quickstart``.

Needs Python 3.11 and a package index, nothing else, and writes only below ``.bootstrap/`` and ``.tox/``. uv comes
from PATH or, at the version and digest of ``constraints.txt``, into a private environment. Which index serves the
packages is the caller's configuration: it is never set here, at most handed from pip to uv. Standard library only,
and parsed by every Python since 3.6, so that an old one gets a sentence instead of a syntax error.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
PYTHON = "{}.{}".format(*sys.version_info)
if sys.version_info[:2] < OLDEST_PYTHON:
    sys.exit(
        f"bootstrap: found Python {PYTHON} at {sys.executable}, needed 3.11 or newer; run this file with a newer one,"
        " for example python3.12 bootstrap.py"
    )

ROOT = Path(__file__).resolve().parent
PRIVATE = ROOT / ".bootstrap"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_UV = (0, 9)
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PIP_TO_UV = {
    "cert": "SSL_CERT_FILE",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "no-index": "UV_NO_INDEX",
}
EX_USAGE, EX_UNAVAILABLE = 64, 69
USAGE = """\
usage: python3 bootstrap.py test [TOX ARGUMENTS]
       python3 bootstrap.py quickstart [QUICKSTART ARGUMENTS]

test        everything the gate runs, through tox
quickstart  clyra quickstart, in a private environment below .bootstrap/

examples:
  python3 bootstrap.py test
  python3 bootstrap.py test -e unit -- -k canonical
  python3 bootstrap.py quickstart --json
"""


class Unavailable(Exception):
    """Something the machine has to provide is missing; the message says what and how to get it."""


def say(message: str) -> None:
    """Print one line of progress to stderr; stdout belongs to the command that is run."""
    print(f"bootstrap: {message}", file=sys.stderr, flush=True)


def run(command: list[str], purpose: str, env: dict[str, str]) -> None:
    """Run one step of the set-up with its output on stderr.

    Raises:
        Unavailable: The step failed; what it printed is above.
    """
    if subprocess.run(command, cwd=ROOT, env=env, stdout=sys.stderr, check=False).returncode != 0:
        raise Unavailable(f"could not {purpose}; the reason is printed above")


def environment() -> dict[str, str]:
    """The caller's environment, with uv's cache moved below ``.bootstrap/`` where the home cannot be written."""
    env = dict(os.environ, UV_PYTHON_DOWNLOADS="never")
    if not os.access(os.path.expanduser("~"), os.W_OK):
        env.setdefault("UV_CACHE_DIR", str(PRIVATE / "cache"))
    return env


def index_settings() -> dict[str, str]:
    """Where pip is configured to find packages, in uv's words; empty where uv has a configuration of its own."""
    if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_CONFIG_FILE")):
        return {}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        found.update(re.findall(rf"(?m)^{section}\.([a-z-]+)='(.*)'$", listing))
    if "find-links" in found:
        # White space separates several folders for pip, commas for uv; pip passes over a missing one, uv would stop.
        places = found["find-links"].replace("\\n", " ").split()
        found["find-links"] = ",".join(place for place in places if "://" in place or os.path.isdir(place))
    return {variable: found[option] for option, variable in PIP_TO_UV.items() if found.get(option)}


def find_uv(env: dict[str, str]) -> str:
    """The path of a uv that is new enough: the one on PATH, or a private one that is installed now if need be."""
    on_path = shutil.which("uv")
    if on_path and uv_version(on_path) >= OLDEST_UV:
        return on_path
    home = PRIVATE / "uv"
    private = home / SCRIPTS / ("uv.exe" if os.name == "nt" else "uv")
    pins = pins_of("uv")
    stamp = home / "pins.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins and private.is_file():
        return str(private)
    say("installing uv into .bootstrap/uv")
    make_venv(home, env)
    requirements = home / "requirements.txt"
    requirements.write_text(pins, encoding="utf-8")
    python = str(home / SCRIPTS / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    run([*pip, "-r", str(requirements)], "install uv", env)
    requirements.replace(stamp)
    return str(private)


def uv_version(uv: str) -> tuple[int, ...]:
    """The leading numbers of ``uv --version``; empty where it does not run, as a broken shim does not."""
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ()
    match = re.match(r"uv (\d+)\.(\d+)", answer)
    return tuple(int(number) for number in match.groups()) if match else ()


def pins_of(name: str) -> str:
    """The hashed pin of ``name`` as ``constraints.txt`` states it, fit for ``pip install --require-hashes -r``."""
    match = re.search(rf"(?m)^{name}==.*\n(?: .*\n?)+", CONSTRAINTS.read_text(encoding="utf-8"))
    if match is None:
        raise Unavailable(f"constraints.txt pins no {name}; restore the file from git")
    return match[0]


def make_venv(home: Path, env: dict[str, str]) -> None:
    """Create a virtual environment with pip at ``home``, in place of whatever is there.

    Raises:
        Unavailable: This Python cannot: distributions split venv or ensurepip off into a package of their own.
    """
    command = [sys.executable, "-m", "venv", "--clear", str(home)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    shutil.rmtree(home, ignore_errors=True)
    hints = {"apt-get": f"apt-get install python{PYTHON}-venv", "dnf": "dnf install python3-pip"}
    hint = next((line for tool, line in hints.items() if shutil.which(tool)), "install the venv module of this Python")
    raise Unavailable(f"{sys.executable} cannot make a virtual environment; {hint}, or put uv on PATH, and run again")


def ensure(name: str, packages: list[str], inputs: list[Path], env: dict[str, str]) -> Path:
    """The scripts folder of the private environment ``name``, made to hold ``packages`` at the pinned versions.

    uv checks the digests of ``constraints.txt`` as it installs. A stamp, written last, holds the digest of all that
    decides the content, so a second call costs a few file reads and an interrupted one starts again.
    """
    home = PRIVATE / name
    scripts = home / SCRIPTS
    digest = hashlib.sha256(repr((sys.version, sys.executable, str(home), packages)).encode())
    for path in [Path(__file__), CONSTRAINTS, *inputs]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    stamp = home / "inputs.sha256"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
        return scripts
    env = {**index_settings(), **env}
    uv = find_uv(env)
    say(f"installing the packages for {name} into .bootstrap/{name}")
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], "create an environment", env)
    install = [uv, "pip", "install", *quiet, "--compile-bytecode", "--python", str(home), "-c", str(CONSTRAINTS)]
    run([*install, *packages], "install the packages", env)
    stamp.write_text(digest.hexdigest(), encoding="utf-8")
    return scripts


def hand_over(command: list[str], env: dict[str, str]) -> int:
    """Run ``command`` in the caller's folder and return its exit code; on POSIX it replaces this process instead."""
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, env)  # noqa: S606 - a program of the environment made above
    return subprocess.run(command, env=env, check=False).returncode


def test(arguments: list[str]) -> int:
    """Run tox, all of it unless ``arguments`` say less, with this interpreter as the default one."""
    env = {**index_settings(), **environment()}
    python = ensure("tox", ["tox", "tox-uv"], [], env) / "python"
    # The environment `test` runs the unit tests on this interpreter already.
    every = arguments[:1] in ([], ["--"])
    selection = ["--skip-env", f"py{PYTHON.replace('.', '')}"] if every else []
    tox = [str(python), "-m", "tox", "run", "--root", str(ROOT), "-c", str(ROOT / "tox.ini")]
    return hand_over([*tox, *selection, *arguments], env)


def quickstart(arguments: list[str]) -> int:
    """Run ``clyra quickstart`` from the packages of this checkout."""
    env = environment()
    projects = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    shipped = [path for path in projects if path.parent.name != "testing"]
    editable = [f"-e{path.parent}{'[quickstart]' if path.parent.name == 'clyra' else ''}" for path in shipped]
    scripts = ensure("quickstart", editable, shipped, env)
    env["PATH"] = os.pathsep.join([str(scripts), env.get("PATH", os.defpath)])
    return hand_over([str(scripts / ("clyra.exe" if os.name == "nt" else "clyra")), "quickstart", *arguments], env)


def main(arguments: list[str]) -> int:
    """Run the command line; 64 for wrong usage, 69 where the machine lacks something, else the command's own code."""
    commands = {"test": test, "quickstart": quickstart}
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if not arguments or arguments[0] not in commands:
        print(USAGE, end="", file=sys.stderr)
        return EX_USAGE
    try:
        return commands[arguments[0]](arguments[1:])
    except Unavailable as exc:
        say(str(exc))
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
