"""Fetching one file over HTTP by several connections, so that nothing that has arrived travels twice."""

from ocrvl_modal.transfer.fetch import fetch_file
from ocrvl_modal.transfer.page import Page, read_page
from ocrvl_modal.transfer.part import sweep
from ocrvl_modal.transfer.source import Fetched, OnBytes, Source, WrongContent, without_secrets

__all__ = [
    "Fetched",
    "OnBytes",
    "Page",
    "Source",
    "WrongContent",
    "fetch_file",
    "read_page",
    "sweep",
    "without_secrets",
]
