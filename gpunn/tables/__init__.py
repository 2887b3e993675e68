"""Tables with text, dates and missing values, and their encoding as matrices of numbers.

A `Schema` describes the columns, and is learned from the training rows. A network stores its schema
as `Sequential.schema`.
"""

from gpunn.tables.columns import Column, EncodedCategory, Kind
from gpunn.tables.files import read_table
from gpunn.tables.frames import table_of
from gpunn.tables.schema import Schema
from gpunn.tables.table import Table

__all__ = ["Column", "EncodedCategory", "Kind", "Schema", "Table", "read_table", "table_of"]
