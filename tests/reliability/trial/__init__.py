# SPDX-License-Identifier: GPL-3.0-or-later
"""Load, faults, and the account of every task that the broker accepted."""
