"""scikit-learn's checks of estimators, and its tests of the estimators that gpunn replaces."""

import ast
import functools
import inspect
import os
import textwrap
import warnings

import numpy as np
import pytest
from processes import run_python
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.neural_network.tests import test_mlp
from sklearn.utils.estimator_checks import estimator_checks_generator

import gpunn.sklearn
from gpunn.sklearn.automatic import search

FEW = {"max_iter": 60, "learning_rate_init": 0.01}
SMALL = {"epochs": 12, "hidden_layer_sizes": (16,), "batch_size": 16, "random_state": 0}
ESTIMATORS = [
    gpunn.sklearn.MLPClassifier(**FEW),
    gpunn.sklearn.MLPRegressor(**FEW),
    gpunn.sklearn.RealMLPClassifier(**SMALL),
    gpunn.sklearn.RealMLPRegressor(**SMALL),
    gpunn.sklearn.TabMClassifier(members=2, **SMALL),
    gpunn.sklearn.TabMRegressor(members=2, **SMALL),
    gpunn.sklearn.TabularClassifier(random_state=0),
    gpunn.sklearn.TabularRegressor(random_state=0),
]

COMBINING = {
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_dont_overwrite_attributes",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_fit_check_is_fitted",
    "check_get_params_invariance",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
}
"""Checks of the estimators that combine networks of others; the others pass all checks."""

FOR_TABLES = ("RealMLPClassifier", "RealMLPRegressor", "TabMClassifier", "TabMRegressor")
INAPPLICABLE_FOR_TABLES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a row that is repeated is split and shuffled by itself, and counts in quantiles, as in "
        "scikit-learn's HistGradientBoosting, which fails likewise"
    ),
}

INAPPLICABLE = {
    "check_classifiers_multilabel_output_format_decision_function": (
        "neither scikit-learn's MLPClassifier nor this one has a decision_function"
    ),
}
"""Checks that skip themselves, and why that is correct."""

CHECKS_OF_WHAT_IS_LEARNED = (
    *("check_classifiers_train", "check_regressors_train", "check_class_weight_classifiers"),
)
"""Other checks pass however little an estimator has learned."""


def checks():
    for estimator in ESTIMATORS:
        for instance, check in estimator_checks_generator(estimator):
            function = check.func if isinstance(check, functools.partial) else check
            options = check.keywords if isinstance(check, functools.partial) else {}
            check_name = function.__name__
            if check_name.startswith("check_array_api"):
                continue
            if "Tabular" not in type(estimator).__name__ or check_name in COMBINING:
                settings = ",".join(f"{key}={value}" for key, value in options.items())
                name = f"{type(instance).__name__}-{check_name}({settings})"
                # TabM's estimators differ from RealMLP's only in their recipe and parameters, and a
                # regressor from a classifier in what checks of regressors ask.
                shared = (
                    name.partition("-")[0].endswith("Regressor") and "regress" not in check_name
                )
                read_only = options == {"readonly_memmap": True}  # others have float32 rows, too
                marks = pytest.mark.full if "TabM" in name or shared or read_only else ()
                yield pytest.param(instance, check, check_name, id=name, marks=marks)


@pytest.mark.parametrize(("estimator", "check", "name"), list(checks()))
def test_estimator(estimator, check, name, monkeypatch):
    small = {"hidden_layer_sizes": [8], "epochs": 2}
    monkeypatch.setattr(search, "parameters_of", lambda trial, seed: small)
    for_tables = type(estimator).__name__ in FOR_TABLES
    inapplicable = INAPPLICABLE_FOR_TABLES if for_tables else INAPPLICABLE
    if name in inapplicable:
        pytest.skip(inapplicable[name])
    if name not in CHECKS_OF_WHAT_IS_LEARNED:
        few = {"epochs": 2, "max_iter": 10}
        given = few.keys() & estimator.get_params().keys()
        estimator = clone(estimator).set_params(**{name: few[name] for name in given})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", SkipTestWarning)
        check(estimator)


@pytest.mark.full
def test_estimators_pass_the_checks_of_array_api_dispatch():
    """Run in a separate process, since SciPy reads the variable when it is imported."""
    script = """
        import functools, warnings
        from sklearn.utils.estimator_checks import estimator_checks_generator
        from gpunn.sklearn import MLPClassifier, MLPRegressor

        warnings.simplefilter("ignore")
        passed = []
        for estimator in (MLPClassifier(), MLPRegressor()):
            for instance, check in estimator_checks_generator(estimator):
                function = getattr(check, "func", check)
                library = getattr(check, "keywords", {}).get("array_namespace", "")
                if not function.__name__.startswith("check_array_api"):
                    continue
                if library in ("cupy", "torch", "dpnp") or "mixed" in function.__name__:
                    continue  # optional libraries
                check(instance)
                passed.append(function.__name__)
        print(len(passed), *sorted(set(passed)))
        """
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "GPUNN_BACKEND": "numpy"}
    done = run_python("-c", textwrap.dedent(script), env=environment)
    number, *names = done.stdout.split()
    assert names == ["check_array_api_input", "check_array_api_same_namespace"]
    assert int(number) >= 4


PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs; tests/sklearn/test_lbfgs.py checks the gradient",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
}
"""Tests of private attributes; test_same_as_scikit_learn.py tests the same behavior."""

IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"


@pytest.fixture(scope="module")
def own_tests():
    """Import the module's functions with the import line changed."""
    source = inspect.getsource(test_mlp)
    assert source.count(IMPORT) == 1
    namespace = {"__name__": "own_tests"}
    changed = source.replace(IMPORT, IMPORT.replace("sklearn.neural_network", "gpunn.sklearn"))
    exec(compile(changed, test_mlp.__file__, "exec"), namespace)
    return namespace


def own_cases():
    tree = ast.parse(inspect.getsource(test_mlp))
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name in PRIVATE:
            continue
        if node.name.startswith("test_"):
            marks = getattr(getattr(test_mlp, node.name), "pytestmark", [])
            cases = [{}]
            for mark in marks:
                if mark.name == "parametrize":
                    names = mark.args[0].replace(" ", "").split(",")
                    values = [v if len(names) > 1 else (v,) for v in mark.args[1]]
                    cases = [
                        {**case, **dict(zip(names, value, strict=True))}
                        for case in cases
                        for value in values
                    ]
            for number, case in enumerate(cases):
                yield pytest.param(node.name, case, id=f"{node.name}-{number}")


@pytest.mark.full
@pytest.mark.parametrize(("name", "case"), list(own_cases()))
def test_scikit_learns_own_tests_pass(own_tests, name, case, tmp_path, capsys):
    fixtures = {"tmp_path": tmp_path, "capsys": capsys, "global_random_seed": 42}
    test = own_tests[name]
    wanted = {key: fixtures[key] for key in inspect.signature(test).parameters if key in fixtures}
    case = {
        key: getattr(gpunn.sklearn, value.__name__, value) if isinstance(value, type) else value
        for key, value in case.items()
    }
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")
        test(**wanted, **case)
