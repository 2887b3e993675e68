import pytest

from gpunn.errors import ConfigError
from gpunn.monitor import Best
from gpunn.sweep.checks import check_sweep
from gpunn.sweep.source import Source


def checked(config, *settings):
    source = Source(config, settings)
    return check_sweep(source, source.read()[1])[0]


@pytest.mark.parametrize(
    ("parameter", "problem"),
    [
        (
            "training.optimzer.learning_rate = { low = 0.1, high = 1.0 }",
            "sweep.parameters.training.optimzer.learning_rate: the value 0.1 is not valid: "
            "training.optimzer: unknown key; did you mean 'optimizer'",
        ),
        ("training.optimizer.lr = { low = 0.1, high = 1.0 }", "'adam' has no such parameter; use"),
        ("model.layers.7.units = { low = 1, high = 2 }", "has no entry 7"),
        (
            "training.epochs = { low = 0, high = 5 }",
            "sweep.parameters.training.epochs: the value 0 is not valid: training.epochs: "
            "expected an integer >= 1; got 0",
        ),
        (
            "training.optimizer.beta1 = { low = 0.5, high = 1.5 }",
            "sweep.parameters.training.optimizer.beta1: the value 1.5 is not valid",
        ),
        (
            'model.layers.1.activation = { choices = ["relu", "tanh", "rleu"] }',
            "activation: the value \"rleu\" is not valid: .* did you mean 'relu'",
        ),
        (
            "model.layers.2.units = { low = 9, high = 10 }",  # which only the data tell
            "sweep.parameters: the combination model.layers.2.units=9 is not",
        ),
    ],
)
def test_each_value_makes_a_configuration(config, parameter, problem):
    text = config.read_text()
    config.write_text(text[: text.index("[sweep.parameters]")] + f"[sweep.parameters]\n{parameter}")
    with pytest.raises(ConfigError, match=problem):
        checked(config)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ([], Best("val_accuracy", "max")),
        (["training.monitor=val_loss"], Best("val_loss", "min")),
        (["sweep.metric=val_loss"], Best("val_loss", "min")),
        (["sweep.metric=val_loss", "sweep.metric_mode=max"], Best("val_loss", "max")),
        (["training.callbacks=['early_stopping']"], Best("val_loss", "min")),
    ],
)
def test_what_trials_are_compared_by(config, settings, rule):
    assert checked(config, *settings) == rule


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["data.validation_fraction=0"], "sweep: comparing trials needs validation rows"),
        (["sweep.metric=val_acuracy"], "sweep.metric: the logs have no value 'val_acuracy'; did"),
        (["sweep.metric=accuracy"], "sweep.metric: expected a validation metric .*'val_acc"),
        (["training.monitor=loss"], "sweep.metric: expected a validation metric"),
    ],
)
def test_what_trials_cannot_be_compared_by(config, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        checked(config, *settings)


def test_a_configuration_without_a_sweep(config):
    text = config.read_text()
    config.write_text(text[: text.index("[sweep]")])
    with pytest.raises(ConfigError, match=r"digits\.toml: the table 'sweep' is missing"):
        checked(config)


def test_what_is_wrong_with_the_data_is_said_once(config, tmp_path, caplog):
    (tmp_path / "rows.csv").write_text("same,x,y\n" + "1,2,a\n1,3,b\n" * 20)
    text = config.read_text()
    data = (
        '[data]\ndataset = "table"\npath = "rows.csv"\ntarget = "y"\nvalidation_fraction = 0.2\n\n'
    )
    layers = text[text.index("[model]") :].replace('{ name = "rescaling", scale = 0.0625 },', "")
    config.write_text(
        'backend = "numpy"\n\n'
        + data
        + layers.replace("layers.1", "layers.0").replace("units = 10", "units = 2")
    )
    checked(config)
    assert len([text for text in caplog.messages if "dropped: the same in every row" in text]) == 1
