# live: {"product": "Redis", "version": "8.0.2", "maxmemory": 1000000, "eviction": "allkeys-lru", "aof": true, "snapshots": false}
from celery import Celery

app = Celery("shop", broker="redis://localhost")
