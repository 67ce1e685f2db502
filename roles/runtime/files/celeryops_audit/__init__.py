# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a Celery application, and says what of it will break in production.

Needs Python and, in the environment of the application, Celery; nothing else. It connects to no broker unless asked.
"""
