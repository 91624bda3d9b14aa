"""The commands of ``ocrvl``, one file a noun: parse, call, show."""
