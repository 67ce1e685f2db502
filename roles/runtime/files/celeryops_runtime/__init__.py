# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Celery app gets from the host it runs on, without a change to its code.

Workers and beat start through ``python -m celeryops_runtime``; a web process that only sends tasks
calls :func:`celeryops_runtime.producer.configure`.
"""
