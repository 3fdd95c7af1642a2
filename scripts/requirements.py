"""Print what kacflow and its extras need, one requirement a line, for ``pip install -r``."""

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
    groups = [
        project["dependencies"],
        *(lines for name, lines in extras.items() if not name.startswith("cuda")),  # GPUs only
    ]
    wanted = {line for group in groups for line in group if not line.startswith("kacflow")}
    print("\n".join(sorted(wanted)))


if __name__ == "__main__":
    main()
