"""Two processes of ci/test.sh share the files of tests."""

from pathlib import Path
from types import SimpleNamespace

import claims


def test_each_file_is_run_once_from_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "FOLDER", tmp_path)
    names = ("tests/kernels/test_a.py", "tests/test_b.py", "tests/test_c.py")
    nodes = [SimpleNamespace(path=tmp_path / name, nodeid=f"{name}::test") for name in names]
    kernels, b, c = nodes
    claims.pytest_collection_modifyitems(nodes)
    assert nodes == [b, c, kernels]
    assert claims.pytest_runtest_protocol(b) is None
    assert claims.pytest_runtest_protocol(b) is None  # the file's next test
    assert claims.pytest_ignore_collect(b.path)
    assert not claims.pytest_ignore_collect(c.path)
    assert not claims.pytest_ignore_collect(Path("/"))
    nodes.remove(b)
    claims.pytest_collection_modifyitems(nodes)
    assert nodes == [kernels, c]
    claims.claim_of(c.path).touch()  # as the other process does
    assert claims.pytest_runtest_protocol(c)
