"""Framework wheels: found in a package index, fetched once, verified, and recorded."""
