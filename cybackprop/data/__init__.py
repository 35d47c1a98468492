"""Data: the digits that ship with the package, and tables read from CSV files."""

from cybackprop.data.columns import Columns, read_target
from cybackprop.data.digits import digits
from cybackprop.data.table import Table, TableError, column_names, read_table

__all__ = ["Columns", "Table", "TableError", "column_names", "digits", "read_table", "read_target"]
