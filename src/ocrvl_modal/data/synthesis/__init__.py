"""Datasets made up from a text and fonts, or from nothing: to try things with, and to add rare characters."""
