"""Checks of the environment that training runs in: one function a check, each run in a process of its own.

A check takes a :class:`~ocrvl_modal.doctor.subject.Subject` and returns a
:class:`~ocrvl_modal.doctor.findings.Finding`; :mod:`~ocrvl_modal.doctor.registry` names them all.
"""
