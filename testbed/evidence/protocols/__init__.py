"""What packets say, one module a protocol.

Readers are total: any bytes give a label or None, never an exception, in work bounded by
the length of the packet.  They know the RFCs alone, not the peers whose packets they read;
the exception is `punch`, whose protocol is the testbed's own.
"""
