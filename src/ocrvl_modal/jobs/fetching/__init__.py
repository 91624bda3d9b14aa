"""Bringing what lies elsewhere into a store: repositories of a hub, rows, and the images that they name."""
