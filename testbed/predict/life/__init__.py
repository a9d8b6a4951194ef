"""What becomes of an established direct path when something happens to it.

A small model: the two NATs as declared (`testbed.predict.nat`), an echo that goes to
and fro every `TICK`, and the timers of the stack.  It owes the lab nothing.  What is
known of the stacks:

- A datagram's echo goes to where it came from; nobody gives up, nobody dials again.
- QUIC's server follows its client to a new address (RFC 9000 section 9.3), never the
  other way round; the dialer ``a`` is the client.  Who hears nothing for `Timers.patience`
  seconds gives up (section 10.1).
- TCP knows no new address.  Where a segment with one gets through, the other's kernel
  answers with RST (RFC 9293 section 3.5.2); else a Yamux ping goes unanswered.
- Who dialed, dials again over the relay after a `PAUSE`; the listener then leads an
  upgrade.  If it still believes in its old direct connection, it tries that first, for
  a second.
- A stack that does not dial again (``redials``) has lost its connection for good.
- The address offered in an upgrade is what the relay sees: of a QUIC connection that has
  migrated, it tells anew.
"""

from testbed.predict.life.expect import expect
from testbed.predict.life.expected import Course, Expected
from testbed.predict.life.path import TICK

__all__ = ["TICK", "Course", "Expected", "expect"]
