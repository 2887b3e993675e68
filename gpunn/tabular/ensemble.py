"""Combine trained networks into one network, which averages their predictions."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.layers import Ensemble
from gpunn.network import Sequential, check_network
from gpunn.tables import Schema
from gpunn.tables.joined_schema import JoinedSchema


def combined(networks: Sequence[Sequential], counts: Sequence[int] | None = None) -> Sequential:
    """Return a network that averages the predictions of trained networks for the same table.

    For classes, probabilities are averaged, and the result's outputs are logits of the averages.
    The networks' schemas may have been fitted to different rows. A single network is returned
    unchanged.

    Parameters
    ----------
    networks : sequence of Sequential
        Trained networks that have a schema, and have the same outputs. The networks are copied.
    counts : sequence of int, optional
        How often each network counts in the average, by default once; see `Ensemble`.

    Returns
    -------
    Sequential
        One network with an `Ensemble` layer, which can be saved or exported as one file, but can't
        be trained.

    Raises
    ------
    ArgumentError
        If there is no network, or the networks don't fit each other.

    See Also
    --------
    separated : Returns the networks.

    Examples
    --------
    >>> people = {"age": [31, 45, 28, 62], "city": ["Oslo", "Rome", "Oslo", "Rome"]}
    >>> schema = gpunn.tables.Schema.fit(people)
    >>> networks = []
    >>> for seed in range(3):
    ...     layers = [gpunn.layers.Dense(1)]
    ...     network = gpunn.Sequential(layers, schema.width, backend="numpy", seed=seed)
    ...     network.schema, network.output_activation = schema, "identity"
    ...     networks.append(network)
    >>> average = gpunn.tabular.combined(networks).predict(people)
    >>> bool(abs(average - sum(network.predict(people) for network in networks) / 3).max() < 1e-5)
    True
    """
    if not networks:
        raise ArgumentError("networks: expected at least one network; got none")
    for number, network in enumerate(networks):
        check_network(network, f"networks[{number}]")
    first = networks[0]
    if len(networks) == 1:
        return first
    parts, starts = list[Schema](), [0]
    groups, values = list[dict[str, object]](), dict[str, np.ndarray]()
    for number, network in enumerate(networks):
        schema, of = network.schema, network.output_activation
        if schema is None or of is None:
            name = "schema" if schema is None else "output_activation"
            raise ArgumentError(f"networks[{number}]: expected a trained network; {name} is None")
        if (count := len(schema.parts)) > 1:
            raise ArgumentError(
                f"networks[{number}]: expected a network with one schema; got {count} schemas"
            )
        if (of, network.dtype) != (first.output_activation, first.dtype):
            raise ArgumentError(
                f"networks[{number}]: expected output_activation {first.output_activation!r} and "
                f"dtype {first.dtype}, as in networks[0]; got {of!r} and {network.dtype}"
            )
        if schema not in parts:
            parts.append(schema)
            starts.append(starts[-1] + schema.width)
        start, label = starts[parts.index(schema)], f"network_{number + 1}"
        layers = copy.deepcopy(list(network.layers))
        groups.append({"columns": (start, start + schema.width), "layers": layers, "label": label})
        values |= {
            f"ensemble_1.{label}.{name}": array
            for name, array in network.parameters.to_host().items()
        }
    layer = Ensemble(groups, first.output_activation or "", counts)
    made = Sequential([layer], starts[-1], first.backend, first.seed, first.dtype, values)
    made.metadata = copy.deepcopy(first.metadata)
    made.schema = parts[0] if len(parts) == 1 else JoinedSchema(parts)
    return made


def separated(network: Sequential) -> list[Sequential]:
    """Return copies of the networks that `combined` has joined into one network.

    Parameters
    ----------
    network : Sequential
        The result of `combined`. If `network` is any other network, the returned list contains only
        this network.

    Returns
    -------
    list of Sequential
        The networks, each with its schema.

    Raises
    ------
    ArgumentError
        If an inner network's first column is not the first column of a part of the schema.

    See Also
    --------
    combined : Returns the average of networks.

    Examples
    --------
    >>> alone = gpunn.Sequential([gpunn.layers.Dense(1)], 2, backend="numpy")
    >>> gpunn.tabular.separated(alone)
    [<Sequential (2,) -> (1,) on numpy>]
    """
    layer, schema = network.layers[0], network.schema
    if not isinstance(layer, Ensemble) or schema is None:
        return [network]
    by_start, start = dict[int, Schema](), 0
    for part in schema.parts:
        by_start[start] = part
        start += part.width
    values, networks = network.parameters.to_host(), []
    for group in layer.parts:
        if group.start not in by_start:
            raise ArgumentError(
                f"network: group {group.label!r} starts at column {group.start}, but no schema "
                "starts there"
            )
        prefix = f"{network.labels[0]}.{group.label}."
        made = Sequential(
            copy.deepcopy(list(group.chain or ())),
            group.width,
            network.backend,
            network.seed,
            network.dtype,
            {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)},
        )
        made.metadata = copy.deepcopy(network.metadata)
        made.adapted, made.schema = True, by_start[group.start]
        networks.append(made)
    return networks
