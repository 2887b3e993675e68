"""`gpunn doctor`."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from gpunn.cli.text import say


@click.command(short_help="Check whether training will be fast on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check whether training will be fast on this machine, and show what to do if not.

    Details follow: versions, BLAS, cores, CUDA, and the backend that "auto" selects.
    """
    from gpunn.doctor import diagnose

    report = diagnose()
    say(json.dumps(report, indent=2) if as_json else "\n".join(_text(report)))


def _text(report: dict[str, Any]) -> Iterator[str]:
    verdict = report["verdict"]
    yield verdict["text"]
    yield from (f"  {each}" for each in verdict["advice"])
    yield ""
    yield from _section(
        f"gpunn {report['gpunn']}",
        [
            ("python", f"{report['python']} ({report['executable']})"),
            ("platform", report["platform"]),
            ("processor", f"{report['processor']}, cores for this process: {report['cores']}"),
            *((name, version or "missing") for name, version in report["packages"].items()),
        ],
    )
    blas = report["blas"]
    pools = [
        (
            pool["library"],
            f"{pool['version']}, threads: {pool['threads']}, kernels: {pool['kernels']}",
        )
        for pool in blas.get("pools", [])
    ]
    if not pools:
        pools = [("threads", "unknown; to see the threads, install threadpoolctl")]
    yield from _section(
        "NumPy's BLAS",
        [
            ("library", f"{blas['name']} {blas['version']}"),
            ("configuration", blas["configuration"] or "unknown"),
            *pools,
            *report["thread_variables"].items(),
        ],
    )
    yield from _section("CPU", _cpu_rows(report["cpu"]))
    yield "CUDA"
    for finding in report["cuda"]:
        yield from _rows([(finding["name"], finding["value"])])
        if finding["problem"]:
            yield f"    problem: {finding['problem']}"
        if finding["fix"]:
            yield f"    fix: {finding['fix']}"
    yield ""
    requested, auto = report["requested"], report["auto"]
    yield from _section(
        "Backend",
        [
            ("auto", f"{auto['backend']}: {auto['reason']}"),
            ("GPUNN_BACKEND", requested["variable"] or "not set"),
            *([("problem", requested["problem"])] if requested["problem"] else []),
        ],
    )


def _cpu_rows(cpu: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if cpu["problem"]:
        yield "problem", cpu["problem"]
    else:
        yield "threads", cpu["threads"]
    kernels = cpu["kernels"]
    if kernels["problem"]:
        yield "compiled kernels", f"none: {kernels['problem']}"
    else:
        yield "compiled kernels", f"for {kernels['target']}, from {kernels['file']}"


def _section(title: str, rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
    yield title
    yield from _rows(rows)
    yield ""


def _rows(rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in rows:
        yield f"  {name:<24}{value}"
