"""The page of ``cacl compare``, and its table as CSV and LaTeX."""
