"""Typical networks."""

from benchmarks.work import Task

# fmt: off
REALISTIC = [
    # Columns of numbers to one number.
    Task((100, 256, 256, 256, 1), 256, "adamw", 1e-3, "table-regression",
         "gelu", "layer_norm", dropout=0.1, loss="mean_squared_error",
         max_norm=1.0, weight_decay=0.01),
    # Small images, one class each.
    Task((784, 512, 512, 10), 128, "adamw", 1e-3, "image-classifier",
         "silu", "batch_norm", dropout=0.2, label_smoothing=0.1, metrics=("accuracy",),
         max_norm=1.0, weight_decay=0.01),
    # So small that calls take longer than arithmetic.
    Task((30, 64, 64, 2), 64, "adamw", 1e-3, "tiny",
         "tanh", dropout=0.1, max_norm=1.0, weight_decay=0.01),
    # So wide that the products take most of the time.
    Task((200, 1024, 1024, 5), 512, "sgd", 0.02, "wide",
         "mish", "batch_norm", dropout=0.3, momentum=0.9, schedule="cosine", epochs=1000),
    # One number, with outliers among the targets.
    Task((13, 128, 128, 128, 1), 64, "rmsprop", 1e-3, "robust-regression",
         "elu", loss="huber", metrics=("mean_absolute_error",), weighted=True, l2_penalty=1e-4),
    # Twenty yes-or-no answers per row.
    Task((300, 256, 256, 20), 128, "adam", 1e-3, "multi-label",
         "leaky_relu", "layer_norm", loss="binary_cross_entropy", metrics=("binary_accuracy",),
         schedule="cosine", warm_up=5, epochs=1000),
    Task((50, 128, 128, 1), 128, "adam", 1e-3, "double-precision",
         "tanh", loss="mean_squared_error", dtype="float64"),
    # The defaults of gpunn.sklearn's estimators, for ten classes and for one number.
    Task((64, 100, 10), 200, "adam", 1e-3, "estimator-classifier",
         weighted=True, l2_penalty=1e-4, dtype="float64"),
    Task((64, 100, 1), 200, "adam", 1e-3, "estimator-regressor",
         loss="half_squared_error", l2_penalty=1e-4, dtype="float64"),
]
# fmt: on
