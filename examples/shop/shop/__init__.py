# SPDX-License-Identifier: GPL-3.0-or-later
"""A small shop: its Celery application shows every practice, and nothing else."""
