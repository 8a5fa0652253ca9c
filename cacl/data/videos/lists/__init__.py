"""List files of data sets, one form a file: which videos they name, with which labels, in which part."""
