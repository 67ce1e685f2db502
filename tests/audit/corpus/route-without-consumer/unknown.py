# plan: {"workers": {"default": {"time_limit": 60}, "critical": {"time_limit": 60}}}
from celery import Celery


def route(name, args, kwargs, options, task=None, **_):
    return {"queue": "critical"} if args[0] else None  # it needs the arguments


app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_routes = (route,)


@app.task
def charge(order_id):
    return order_id
