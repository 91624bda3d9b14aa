"""A dataset to look at: one page that needs nothing but a browser."""
