"""Tables as Parquet and Arrow files, for those who read them with something that reads these (``cacl[arrow]``).

A file says in its schema which command wrote it. Text is UTF-8: of names that are not, ``?`` stands for the odd bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.files import check_parent, check_replaceable, whole

SUFFIXES = (".parquet", ".arrow")
_WRITER = b"written_by"


def is_arrow(path: Path) -> bool:
    """Whether a file is to be such a table, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def check_arrow(path: Path, *, by: str) -> None:
    """Before the work: raise UserError where the table could not be written, or would replace what is another's.

    Args:
        path: of the table, with one of ``SUFFIXES``.
        by: the command that writes it.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow, which is missing: {install_extra('arrow')}.") from error
    check_parent(path)
    check_replaceable(path, partial(_is_by, by), by=by)


def write_arrow(path: Path, types: Mapping[str, Any], parts: Iterable[Sequence[Any]], *, by: str) -> None:
    """A table, part after part, whole or not at all.

    Args:
        path: with one of ``SUFFIXES``.
        types: name of each column -> its Arrow type.
        parts: some rows each: a list or array for each column.
        by: the command that writes it.

    Raises:
        UserError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = pa.schema(list(types.items()), metadata={_WRITER: by.encode()})
    new_file = parquet.ParquetWriter if path.suffix.lower() == ".parquet" else pa.ipc.new_file
    with whole(path) as partial_path, new_file(str(partial_path), schema) as writer:
        for columns in parts:
            arrays = [_array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _array(column: Any, kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1), kind.value_type), kind.list_size)
    if pa.types.is_string(kind):
        column = [None if text is None else text.encode("utf-8", "replace").decode() for text in column]
    return pa.array(column, kind)


def _is_by(by: str, path: Path) -> bool:
    """Whether a file is a table that the command ``by`` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = None
    with suppress(pa.ArrowException, OSError):
        schema = parquet.read_schema(path)
    if schema is None:
        with suppress(pa.ArrowException, OSError), pa.ipc.open_file(path) as reader:
            schema = reader.schema
    return schema is not None and (schema.metadata or {}).get(_WRITER) == by.encode()
