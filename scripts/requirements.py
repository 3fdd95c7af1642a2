"""Print what kacflow and its extras need, one requirement a line, for ``pip install -r``.

With the names of extras as arguments: what these need alone.  Without: kacflow and all extras but
those for GPUs and for the site.
"""

from __future__ import annotations

import pathlib
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def main() -> None:
    root = pathlib.Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = [extras[name] for name in sys.argv[1:]] or [
        project["dependencies"],
        *(lines for name, lines in extras.items() if not name.startswith(("cuda", "docs"))),
    ]
    wanted = {line for group in groups for line in group if not line.startswith("kacflow")}
    print("\n".join(sorted(wanted)))


if __name__ == "__main__":
    main()
