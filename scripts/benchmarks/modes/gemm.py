"""The speed of matrix products: large ones, and those that the grid's steps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import FLOOR, FLOORS
from benchmarks.figures import figure
from benchmarks.plan import Plan, Report
from benchmarks.session import Session
from benchmarks.table import number, table
from benchmarks.work import Product, Task

LARGE = tuple(Product(n, n, n, "forward") for n in (512, 1024, 2048))


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Time each product by itself."""
    chosen = [FLOOR, *(name for name in names if name in FLOORS and name != FLOOR)]
    steps = [Task(sizes, batch, "sgd", 0.0) for sizes in plan.sizes for batch in plan.batches]
    products = list(dict.fromkeys([*LARGE, *(p for task in steps for p in task.products())]))

    def question(product: Product, number: int) -> dict[str, Any]:
        return {"job": "product", "product": list(product), "seconds": plan.seconds / 2}

    measured = session.measure(products, chosen, question)
    rows, body = [], []
    for product in products:
        line = [described(product)]
        for name in chosen:
            turns = measured[product, name]
            found = figure(turns, session.watch.quiet, lambda answer: [answer["seconds"]])
            if found is None:
                line.append("-")
                continue
            gflops = product.operations / getattr(found, plan.statistic) / 1e9
            rows.append(
                {**product._asdict(), "competitor": name, **asdict(found), "gflops": gflops}
            )
            line.append(found.mark + number(gflops))
        body.append(line)
    head = f"GFLOP/s of single products, from the {plan.statistic} seconds of quiet turns."
    return Report(rows, f"{head}\n\n{table(['product', *chosen], body)}")


def described(product: Product) -> str:
    """Return what the product is of, and its shapes."""
    m, n, k, kind = product
    return f"{'large' if product in LARGE else kind} ({m}, {k}) x ({k}, {n})"
