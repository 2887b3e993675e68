"""The examples of scikit-learn's documentation print the same with the import line changed.

Those of the API reference are taken from its docstrings. The first one of the user guide, chapter
"Neural network models (supervised)", is repeated here, since no package has it.
"""

import ast
import doctest
import re
import warnings

import numpy as np
import pytest
import sklearn.neural_network

GUIDE = """
from sklearn.neural_network import MLPClassifier
X = [[0., 0.], [1., 1.]]
y = [0, 1]
clf = MLPClassifier(solver='lbfgs', alpha=1e-5, hidden_layer_sizes=(5, 2), random_state=1)
clf.fit(X, y)
clf.predict([[2., 2.], [-1., -2.]])
[coef.shape for coef in clf.coefs_]
clf.predict_proba([[2., 2.], [1., 2.]])
"""


def code_of(docstring):
    return "".join(example.source for example in doctest.DocTestParser().get_examples(docstring))


EXAMPLES = {
    "guide": GUIDE,
    "MLPClassifier": code_of(sklearn.neural_network.MLPClassifier.__doc__),
    "MLPRegressor": code_of(sklearn.neural_network.MLPRegressor.__doc__),
}

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def printed(source):
    namespace, shown = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for node in ast.parse(source).body:
            if isinstance(node, ast.Expr):
                value = eval(compile(ast.Expression(node.value), "example", "eval"), namespace)
                shown.append(repr(value))
            else:
                exec(compile(ast.Module([node], []), "example", "exec"), namespace)
    return "\n".join(shown)


@pytest.mark.parametrize("name", EXAMPLES)
def test_prints_the_same(name):
    source = EXAMPLES[name]
    changed = re.sub(r"from sklearn\.neural_network import", "from gpunn.sklearn import", source)
    assert changed != source
    reference, actual = printed(source), printed(changed)
    assert NUMBER.sub("#", actual).split() == NUMBER.sub("#", reference).split()
    got, expected = (np.array(NUMBER.findall(text), float) for text in (actual, reference))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
