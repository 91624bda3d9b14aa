"""Images as data, and what becomes of them."""
