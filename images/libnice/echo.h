/* Echo over datagrams: numbered, sent again when lost, counted when they are back. */
#ifndef ECHO_H
#define ECHO_H

#include "wire.h"

typedef struct _Echo Echo;

typedef void (*EchoSend) (const guint8 *datagram, gsize length, gpointer user);
typedef void (*EchoDone) (gsize returned, gpointer user); /* bytes that came back unaltered */

Echo *echo_new (Role role, const guint8 *session, EchoSend send, EchoDone done, gpointer user);

typedef struct {
  gsize bytes;
  gsize known; /* bytes of the nonce: 0 if there is none */
  guint8 nonce[NONCE_BYTES];
} EchoAsked;

/* Sends what is asked for on the default main context; what is not the nonce is made from `seed`. */
void echo_start (Echo *echo, const EchoAsked *asked, guint32 seed);

/* Takes a datagram of the other side: answers it, or counts it; ignores a stranger's. */
void echo_received (Echo *echo, const guint8 *datagram, gsize length);

void echo_free (Echo *echo);

#endif
