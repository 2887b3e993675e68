"""The command `python -m gpunn.build`, which builds the CPU kernels before the first training."""

import importlib.util
import logging

import click

from gpunn.backends.numpy.compiled.announcement import LOGGER_NAME
from gpunn.backends.numpy.compiled.building import build
from gpunn.backends.numpy.compiled.targets import TARGETS, runnable_targets
from gpunn.errors import GpunnError


@click.command()
@click.option(
    "--target",
    "names",
    type=click.Choice(list(TARGETS)),
    multiple=True,
    help="Kind of processor to build for; by default, the best kind for this machine.",
)
@click.option("--force", is_flag=True, help="Build even if the kernels exist.")
def main(names: tuple[str, ...], force: bool) -> None:
    """Build the compiled kernels, which make training on a CPU faster."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(LOGGER_NAME).setLevel(logging.INFO)
    targets = [TARGETS[name] for name in names] or runnable_targets()[:1]
    if not targets:
        raise click.ClickException("this processor or system is not supported")
    if importlib.util.find_spec("numba") is None:
        raise click.ClickException("building requires numba; run: pip install 'numba>=0.68'")
    for target in targets:
        try:
            click.echo(build(target, force=force))
        except (GpunnError, OSError) as error:
            raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m gpunn.build")
