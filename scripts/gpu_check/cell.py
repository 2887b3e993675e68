from typing import NamedTuple


class Cell(NamedTuple):
    """A training to time: a network, and the precision of products.

    The network is one of `networks.TIMED`, or widths of a ReLU network, such as 784-512-10.
    """

    network: str
    batch: int
    optimizer: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.network}, batch {self.batch}, {self.optimizer}, {self.precision}"
