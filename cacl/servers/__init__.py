"""Vectors on a server, where files are outgrown: what one must be able to do, and PostgreSQL with pgvector."""
