"""Search among stored vectors: nearest neighbours, what a score means, the same recording twice."""
