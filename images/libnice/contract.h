/* The contract of testbed/stacks/contract.schema.json: commands in, events out, as JSON Lines. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <json-glib/json-glib.h>

#include "echo.h"

typedef struct {
  char *address; /* NULL: there is none */
  guint port;
  char *username, *password; /* of a TURN server */
  gboolean tcp;
} Server;

typedef struct {
  Role role;
  gboolean udp, punch, relay_only;
  char *local_address;
  Server stun, turn;
  guint8 session[SESSION_BYTES];
  guint32 seed;
} Configure;

typedef struct {
  char *ufrag, *pwd; /* NULL: the offer is not for ICE */
  GPtrArray *candidates; /* of char *, in SDP form without "a=" */
  gint64 start_at; /* nanoseconds of CLOCK_MONOTONIC */
} Dial;

/* Nanoseconds of the clock that all peers share. */
gint64 now (void);

/* Writes one event; `fields` is what stands between "at" and the closing brace, or empty. */
void emit (const char *event, const char *fields, ...) G_GNUC_PRINTF (2, 3);

/* A string as JSON has it, with its quotes; to be freed. */
char *quoted (const char *text);

/* The object on a line, and the word after "command"; NULL if it is none. */
JsonObject *parse_command (const char *line, const char **command);

/* FALSE if a member is missing or is of another type.  What they fill in is never freed:
   a process has one session. */
gboolean read_configure (JsonObject *object, Configure *configure);
gboolean read_dial (JsonObject *object, Dial *dial);
gboolean read_echo (JsonObject *object, EchoAsked *asked);

#endif
