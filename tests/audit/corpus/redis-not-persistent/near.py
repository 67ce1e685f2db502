# live: {"product": "Redis", "version": "8.0.2", "maxmemory": 0, "eviction": "noeviction", "aof": true, "snapshots": false}
from celery import Celery

app = Celery("shop", broker="redis://localhost")
