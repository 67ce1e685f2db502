# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a deployment share: its facts, what follows from them, and the way to its hosts."""
