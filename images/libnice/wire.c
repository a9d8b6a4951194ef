#include "wire.h"

#include <string.h>

static const guint8 MAGIC[4] = { 0xf5, 't', 'b', '1' };

gsize
frame_encode (const Frame *frame, guint8 *out)
{
  guint32 number = GUINT32_TO_BE (frame->number);
  guint16 size = GUINT16_TO_BE (frame->size);

  memcpy (out, MAGIC, 4);
  out[4] = frame->kind;
  out[5] = frame->role;
  memcpy (out + 6, frame->session, SESSION_BYTES);
  memcpy (out + 22, &number, 4);
  memcpy (out + 26, &size, 2);
  memcpy (out + HEADER_BYTES, frame->payload, frame->size);
  return HEADER_BYTES + frame->size;
}

gboolean
frame_decode (const guint8 *data, gsize length, Frame *frame)
{
  guint32 number;
  guint16 size;

  if (length < HEADER_BYTES || memcmp (data, MAGIC, 4) != 0 || data[5] > ROLE_LISTENER)
    return FALSE;
  memcpy (&number, data + 22, 4);
  memcpy (&size, data + 26, 2);
  frame->kind = data[4];
  frame->role = data[5];
  memcpy (frame->session, data + 6, SESSION_BYTES);
  frame->number = GUINT32_FROM_BE (number);
  frame->size = GUINT16_FROM_BE (size);
  frame->payload = data + HEADER_BYTES;
  return frame->size <= PAYLOAD_LIMIT && length == HEADER_BYTES + (gsize) frame->size;
}

gboolean
octets_parse (const char *text, guint8 *octets)
{
  if (strlen (text) != 2 * SESSION_BYTES)
    return FALSE;
  for (int at = 0; at < SESSION_BYTES; at++) {
    int high = g_ascii_xdigit_value (text[2 * at]), low = g_ascii_xdigit_value (text[2 * at + 1]);
    if (high < 0 || low < 0)
      return FALSE;
    octets[at] = high << 4 | low;
  }
  return TRUE;
}
