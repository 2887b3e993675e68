"""Files of tests shared by two processes of ci/test.sh: each file is run by the first to reach it.

The folder `GPUNN_TEST_CLAIMS` has an empty file for each file of tests that a process has begun. A
process that finds some there starts at the other end, so that both end at about the same time.
"""

import functools
import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.pop("GPUNN_TEST_CLAIMS", ""))  # not for processes that tests start

LAST = ("tests/scripts/", "tests/kernels/")
"""Folders at the end. The last one uses kernels that tests on devices build."""


def claim_of(path: Path) -> Path:
    return FOLDER / "-".join(path.parts[1:])


@functools.cache  # asked for each test of a file
def is_ours(path: Path) -> bool:
    try:
        claim_of(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return (FOLDER.name and claim_of(collection_path).is_file()) or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not FOLDER.name:
        return
    items.sort(key=lambda item: [item.nodeid.startswith(folder) for folder in reversed(LAST)])
    if any(FOLDER.glob("*.py")):
        files = list(dict.fromkeys(item.path for item in items))
        places = {path: place for place, path in enumerate(reversed(files))}
        items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    return True if FOLDER.name and not is_ours(item.path) else None
