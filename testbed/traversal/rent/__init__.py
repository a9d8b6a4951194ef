"""Rented forwarding: an extension of circuit relay v2 whose ends pay by signed receipts.

Pure but for `sqlite.py`; `aio/rent_*.py` have the streams.  RENT.md explains protocol and threats.
"""

OFFER_PROTOCOL = "/testbed/relay-rent/0.1.0/offer"
HOP_PROTOCOL = "/testbed/relay-rent/0.1.0/hop"
STOP_PROTOCOL = "/testbed/relay-rent/0.1.0/stop"
ACCOUNT_PROTOCOL = "/testbed/relay-rent/0.1.0/account"
MAX_STATEMENT = 4096
