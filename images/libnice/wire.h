/* The frames that two peers exchange, as in testbed/stacks/wire.py. */
#ifndef WIRE_H
#define WIRE_H

#include <glib.h>

#define PAYLOAD_LIMIT 1000
#define SESSION_BYTES 16
#define NONCE_BYTES 16 /* that each payload of an echo begins with */
#define HEADER_BYTES 28 /* magic, kind, role, session, number, size: network order, no padding */
#define FRAME_LIMIT (HEADER_BYTES + PAYLOAD_LIMIT)

typedef enum { FRAME_DATA = 4, FRAME_BACK = 5 } FrameKind;
typedef enum { ROLE_DIALER = 0, ROLE_LISTENER = 1 } Role;

typedef struct {
  FrameKind kind;
  Role role; /* the sender's: nobody answers itself */
  guint8 session[SESSION_BYTES];
  guint32 number;
  guint16 size;
  const guint8 *payload;
} Frame;

/* Writes `frame` to `out`, which has room for FRAME_LIMIT bytes; gives its length. */
gsize frame_encode (const Frame *frame, guint8 *out);

/* FALSE if `data` is not exactly one frame; the payload points into `data`. */
gboolean frame_decode (const guint8 *data, gsize length, Frame *frame);

/* 32 hexadecimal digits to 16 octets; FALSE if they are something else. */
gboolean octets_parse (const char *text, guint8 *octets);

#endif
