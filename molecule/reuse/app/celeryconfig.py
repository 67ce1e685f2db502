# SPDX-License-Identifier: GPL-3.0-or-later
"""Its settings, which its producers read."""

broker_url = "redis://legacy:legacy-password-of-a-test@127.0.0.1:6379/0"
result_backend = "redis://legacy:legacy-password-of-a-test@127.0.0.1:6379/1"
task_default_queue = "legacy"
