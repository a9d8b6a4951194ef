#include "echo.h"

#include <string.h>

#define ROUNDS 5            /* a datagram is sent at most so often */
#define PACE_MS 1           /* between datagrams */
#define ROUND_DEADLINE_MS 500 /* for the last one to come back */

struct _Echo {
  Role role;
  guint8 session[SESSION_BYTES];
  EchoSend send;
  EchoDone done;
  gpointer user;
  GByteArray *data;   /* what is sent; NULL while nothing is */
  GArray *back;       /* one gboolean for each datagram */
  guint missing, next, round;
  guint timer;
};

Echo *
echo_new (Role role, const guint8 *session, EchoSend send, EchoDone done, gpointer user)
{
  Echo *echo = g_new0 (Echo, 1);

  echo->role = role;
  memcpy (echo->session, session, SESSION_BYTES);
  echo->send = send;
  echo->done = done;
  echo->user = user;
  return echo;
}

static guint
size_of (const Echo *echo, guint number)
{
  return MIN (PAYLOAD_LIMIT, echo->data->len - number * PAYLOAD_LIMIT);
}

static void
say (const Echo *echo, FrameKind kind, guint32 number, const guint8 *payload, guint16 size)
{
  guint8 datagram[FRAME_LIMIT];
  Frame frame = { .kind = kind, .role = echo->role, .number = number, .size = size };

  frame.payload = payload;
  memcpy (frame.session, echo->session, SESSION_BYTES);
  echo->send (datagram, frame_encode (&frame, datagram), echo->user);
}

static void
finish (Echo *echo)
{
  gsize returned = echo->data->len;

  for (guint number = 0; number < echo->back->len; number++)
    if (!g_array_index (echo->back, gboolean, number))
      returned -= size_of (echo, number);
  if (echo->timer != 0)
    g_source_remove (echo->timer);
  echo->timer = 0;
  g_clear_pointer (&echo->data, g_byte_array_unref);
  g_clear_pointer (&echo->back, g_array_unref);
  echo->done (returned, echo->user);
}

static gboolean send_next (gpointer self);

static gboolean
round_over (gpointer self)
{
  Echo *echo = self;

  echo->timer = 0;
  if (++echo->round == ROUNDS) {
    finish (echo);
  } else {
    echo->next = 0;
    echo->timer = g_timeout_add (PACE_MS, send_next, echo);
  }
  return G_SOURCE_REMOVE;
}

static gboolean
send_next (gpointer self)
{
  Echo *echo = self;

  while (echo->next < echo->back->len && g_array_index (echo->back, gboolean, echo->next))
    echo->next++;
  if (echo->next == echo->back->len) {
    echo->timer = g_timeout_add (ROUND_DEADLINE_MS, round_over, echo);
    return G_SOURCE_REMOVE;
  }
  say (echo, FRAME_DATA, echo->next, echo->data->data + echo->next * PAYLOAD_LIMIT,
      size_of (echo, echo->next));
  echo->next++;
  return G_SOURCE_CONTINUE;
}

void
echo_start (Echo *echo, const EchoAsked *asked, guint32 seed)
{
  GRand *random = g_rand_new_with_seed (seed);
  gsize count = asked->bytes;

  echo->missing = (count + PAYLOAD_LIMIT - 1) / PAYLOAD_LIMIT;
  echo->data = g_byte_array_sized_new (count);
  for (gsize at = 0; at < count; at++) {
    gsize within = at % PAYLOAD_LIMIT;
    guint8 drawn = g_rand_int_range (random, 0, 256);
    guint8 byte = within < asked->known ? asked->nonce[within] : drawn;
    g_byte_array_append (echo->data, &byte, 1);
  }
  g_rand_free (random);
  echo->back = g_array_new (FALSE, TRUE, sizeof (gboolean));
  g_array_set_size (echo->back, echo->missing);
  echo->next = echo->round = 0;
  echo->timer = g_timeout_add (PACE_MS, send_next, echo);
}

void
echo_received (Echo *echo, const guint8 *datagram, gsize length)
{
  Frame frame;

  if (!frame_decode (datagram, length, &frame) || frame.role == echo->role
      || memcmp (frame.session, echo->session, SESSION_BYTES) != 0)
    return;
  if (frame.kind == FRAME_DATA) {
    say (echo, FRAME_BACK, frame.number, frame.payload, frame.size);
    return;
  }
  if (frame.kind != FRAME_BACK || echo->data == NULL || frame.number >= echo->back->len)
    return;
  gboolean *back = &g_array_index (echo->back, gboolean, frame.number);
  const guint8 *sent = echo->data->data + frame.number * PAYLOAD_LIMIT;
  if (*back || frame.size != size_of (echo, frame.number)
      || memcmp (frame.payload, sent, frame.size) != 0)
    return;
  *back = TRUE;
  if (--echo->missing == 0)
    finish (echo);
}

void
echo_free (Echo *echo)
{
  if (echo->timer != 0)
    g_source_remove (echo->timer);
  g_clear_pointer (&echo->data, g_byte_array_unref);
  g_clear_pointer (&echo->back, g_array_unref);
  g_free (echo);
}
