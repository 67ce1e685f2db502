# SPDX-License-Identifier: GPL-3.0-or-later
"""The world outside: a payment gateway and a mail server, played by two functions.

A real shop calls HTTP or SMTP here, always with a time-out. `trouble` makes them misbehave on purpose.
"""

from shop.store import Order

BUSY_ATTEMPTS = 2


class GatewayBusy(Exception):
    """The payment gateway has no time just now: trying again later helps."""


class MailServerBusy(Exception):
    """The mail server has no time just now: trying again later helps."""


class PaymentRefused(Exception):
    """The bank says no: trying again does not help, a human must look."""


def take_payment(order: Order, attempt: int) -> str:
    """Take the money and return the payment's reference.

    The order's id is the idempotency key: asked twice, the gateway takes the money once, as real gateways do.
    """
    if order.trouble == "refused":
        raise PaymentRefused(f"the bank refused {order.amount} cents for order {order.id}")
    if order.trouble == "busy" and attempt <= BUSY_ATTEMPTS:
        raise GatewayBusy(f"the payment gateway is busy (order {order.id}, attempt {attempt})")
    return f"payment-of-{order.id}"


def send_mail(order: Order, attempt: int) -> str:
    """Send the confirmation and return the mail's message id, made from the order's: asked twice, one mail is seen."""
    if order.trouble == "busy" and attempt <= BUSY_ATTEMPTS:
        raise MailServerBusy(f"the mail server is busy (order {order.id}, attempt {attempt})")
    return f"<{order.id}@shop.example>"
