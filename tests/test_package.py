"""The public names of `gpunn`."""

import importlib

import pytest

import gpunn
import gpunn.data


@pytest.mark.parametrize("module", [gpunn, gpunn.data])
def test_dir_lists_the_public_names(module):
    shown = [name for name in dir(module) if not name.startswith("__")]
    optional = ["sklearn"] if module is gpunn else []
    assert shown == sorted([*module.__all__, *optional])
    for name in shown:
        assert getattr(module, name) is not None


def test_scikit_learns_estimators_are_reached_by_attribute():
    assert gpunn.sklearn is importlib.import_module("gpunn.sklearn")
    assert gpunn.sklearn.MLPClassifier.__module__ == "gpunn.sklearn.classifier"


def test_modules_of_missing_packages_are_not_listed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "sklearn" not in dir(gpunn)


def test_unknown_name():
    with pytest.raises(AttributeError, match="'gpunn' has no attribute 'Model'"):
        gpunn.Model  # noqa: B018
