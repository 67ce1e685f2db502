# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tables come to be."""
