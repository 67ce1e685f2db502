# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that run on a host: ``main`` takes and returns JSON, nothing is imported from this package."""
