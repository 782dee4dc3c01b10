"""The wheel: its licence, its description, its modules."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from support import ROOT

pytest.importorskip("hatchling", reason="hatchling builds the wheel")

BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "tests")
    shutil.copytree(ROOT / "python", source, ignore=ignored)
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_it_has_the_licence(wheel: zipfile.ZipFile) -> None:
    [licence] = [name for name in wheel.namelist() if re.search(r"\.dist-info/licenses/LICENSE$", name)]
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"
    assert metadata(wheel)["License-File"] == "LICENSE"


def test_its_description_links_to_nothing_that_a_package_index_cannot_find(wheel: zipfile.ZipFile) -> None:
    description = metadata(wheel).get_payload()
    links = re.findall(r"\]\(([^)\s]+)\)", str(description))
    assert [link for link in links if not re.match(r"https?://|#", link)] == []


def test_it_has_every_module_and_its_types(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "python" / "src"
    modules = {path.relative_to(package).as_posix() for path in Path(package).rglob("*.py")}
    assert modules <= set(wheel.namelist())
    assert "shadowkeep/py.typed" in wheel.namelist()


def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())
