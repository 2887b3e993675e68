"""TabM-mini of the package tabm, which has no estimators.

Columns and training follow its example, with gpunn's settings on a CPU.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.published_tables import Parts
from gpunn.tabular.columns import bins_for

__all__ = ["tabm_package"]

MEMBERS, SIZES, EMBEDDING, DROPOUT = 8, 192, 16, 0.1


def tabm_package(
    parts: Parts, classes: bool, seed: int, epochs: int | None = None
) -> Callable[[Any], np.ndarray]:
    import tabm
    import torch
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings, compute_bins

    torch.manual_seed(seed)
    encode = tabm_columns(parts.train[0], seed)
    (numbers, codes), (held_numbers, held_codes) = (
        encode(parts.train[0]),
        encode(parts.validation[0]),
    )
    y, y_val = parts.train[1], parts.validation[1]
    mean, scale = (0.0, 1.0) if classes else (float(y.mean()), float(y.std()))
    if numbers.shape[1]:
        bins = compute_bins(numbers, n_bins=min(bins_for(len(numbers)), len(numbers) - 1))
        embedding = PiecewiseLinearEmbeddings(bins, EMBEDDING, activation=False, version="B")
    outputs = int(y.max()) + 1 if classes else 1
    model = tabm.TabM.make(
        n_num_features=numbers.shape[1],
        cat_cardinalities=[int(column.max()) + 1 for column in codes.T],
        d_out=outputs,
        num_embeddings=embedding if numbers.shape[1] else None,
        arch_type="tabm-mini",
        k=MEMBERS,
        n_blocks=3,
        d_block=SIZES,
        dropout=DROPOUT,
    )
    biases = [each for name, each in model.named_parameters() if "bias" in name]
    others = [each for name, each in model.named_parameters() if "bias" not in name]
    groups = [{"params": others}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.002, weight_decay=0.0003)
    targets = torch.as_tensor(y if classes else (y - mean) / scale)
    targets = targets.long() if classes else targets.float()
    loss_of = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss

    def predicted(numbers: Any, codes: Any) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            chunks = [
                model(a if a.shape[1] else None, b if b.shape[1] else None)
                for a, b in zip(numbers.split(1024), codes.split(1024), strict=True)
            ]
        answer = torch.cat(chunks)
        if classes:
            return np.asarray(answer.softmax(-1).mean(1))
        return np.asarray(answer.mean(1)[:, 0], dtype=np.float64) * scale + mean

    rows = 256 if len(y) < 100_000 else 1024
    patience = max(16, -(-256 // -(-len(y) // rows)))
    best, since, kept = -np.inf, 0, model.state_dict()
    for _ in itertools.count() if epochs is None else range(epochs):
        model.train()
        for batch in torch.randperm(len(y)).split(rows):
            optimizer.zero_grad()
            a, b = numbers[batch], codes[batch]
            answer = model(a if a.shape[1] else None, b if b.shape[1] else None).flatten(0, 1)
            expected = targets[batch].repeat_interleave(MEMBERS)
            loss_of(answer if classes else answer[:, 0], expected).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        score = validation_score(classes, y_val, predicted(held_numbers, held_codes))
        since += 1
        if score > best:
            best, since = score, 0
            kept = {name: each.clone() for name, each in model.state_dict().items()}
        if epochs is None and since == patience:
            break
    model.load_state_dict(kept)
    return lambda frame: predicted(*encode(frame))


def validation_score(classes: bool, y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the score that selects the best epoch; larger is better."""
    if classes:
        return float((predicted.argmax(1) == y).mean())
    return -float(((predicted - y) ** 2).mean())


def tabm_columns(frame: Any, seed: int) -> Callable[[Any], tuple[Any, Any]]:
    """Return the function from a frame to the numbers and codes that the package tabm takes.

    The code follows tabm's example, which has no missing values. A missing number becomes the
    median, and a column of two categories marks it. A missing category becomes a separate category.
    """
    import torch
    from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer

    names = [name for name in frame.select_dtypes("number") if frame[name].nunique() > 1]
    text = [name for name in frame.select_dtypes(exclude="number") if frame[name].nunique() > 1]
    with_gaps = [name for name in names if frame[name].isna().any()]
    medians = frame[names].median()
    values = frame[names].fillna(medians).to_numpy(np.float32)
    noise = np.random.default_rng(seed).normal(0.0, 1e-5, values.shape).astype(np.float32)
    transform = QuantileTransformer(
        n_quantiles=max(min(len(frame) // 30, 1000), 10),
        output_distribution="normal",
        subsample=10**9,
        random_state=seed,
    )
    if names:
        transform.fit(values + noise)
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
    ).fit(frame[text])

    def encode(frame: Any) -> tuple[Any, Any]:
        values = frame[names].fillna(medians).to_numpy(np.float32)
        numbers = transform.transform(values) if names else values
        codes = encoder.transform(frame[text]) + 1 if text else np.zeros((len(frame), 0))
        codes = np.column_stack([codes, frame[with_gaps].isna()]).astype(np.int64)
        return torch.as_tensor(numbers.astype(np.float32)), torch.as_tensor(codes)

    return encode
