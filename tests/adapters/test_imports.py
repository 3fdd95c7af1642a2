"""An adapter whose library is absent says what to install; the package itself needs none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kacflow._optional import INSTALL


@pytest.mark.parametrize("library", INSTALL)
def test_absent_library(library, child_environment):
    code = f"import sys; sys.modules[{library!r}] = None; import kacflow.adapters.{library}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"is not installed; run: {INSTALL[library]}")


def test_package_imports_no_library(child_environment):
    code = (
        "import sys; import kacflow.adapters; "
        f"assert not set(sys.modules) & {set(INSTALL)!r}, sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=child_environment)
