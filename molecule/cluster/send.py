# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends tasks into every queue and prints what the broker has accepted; some wait for minutes.

Runs on a machine, in the application's environment, with how many: celery-run python - 200
"""

import itertools
import json
import sys
import time

from effects import fast, hungry, slow, threaded

KINDS = itertools.cycle([fast, threaded, fast, hungry, fast, slow, threaded])
# Minutes that end before the move, while it goes on, and after it. The tasks are fewer than the cycles together.
COUNTDOWNS = itertools.cycle([None, None, 60, None, None, 180, None, 300, None, None, 420])

accepted = []
for _ in range(int(sys.argv[1])):
    countdown, sent = next(COUNTDOWNS), time.time()
    task_id = next(KINDS).apply_async((0.05,), countdown=countdown).id
    accepted.append({"id": task_id, "due": sent + (countdown or 0)})
print(json.dumps(accepted))
