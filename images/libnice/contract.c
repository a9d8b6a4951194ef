#include "contract.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ECHO_LIMIT (1 << 24)

gint64
now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec * G_GINT64_CONSTANT (1000000000) + time.tv_nsec;
}

void
emit (const char *event, const char *fields, ...)
{
  va_list arguments;

  va_start (arguments, fields);
  char *text = g_strdup_vprintf (fields, arguments);
  va_end (arguments);
  printf ("{\"event\":\"%s\",\"at\":%" G_GINT64_FORMAT "%s%s}\n", event, now (), *text ? "," : "",
      text);
  fflush (stdout);
  g_free (text);
}

char *
quoted (const char *text)
{
  JsonNode *node = json_node_init_string (json_node_alloc (), text);
  char *json = json_to_string (node, FALSE);

  json_node_unref (node);
  return json;
}

JsonObject *
parse_command (const char *line, const char **command)
{
  JsonNode *node = json_from_string (line, NULL);

  if (node == NULL || !JSON_NODE_HOLDS_OBJECT (node))
    return NULL;
  JsonObject *object = json_node_get_object (node);
  *command = json_object_get_string_member_with_default (object, "command", "");
  return object;
}

static gboolean
get_text (JsonObject *object, const char *name, char **value)
{
  JsonNode *node = json_object_get_member (object, name);

  if (node == NULL || json_node_get_value_type (node) != G_TYPE_STRING)
    return FALSE;
  *value = json_node_dup_string (node);
  return TRUE;
}

static gboolean
get_number (JsonObject *object, const char *name, gint64 *value)
{
  JsonNode *node = json_object_get_member (object, name);

  if (node == NULL || json_node_get_value_type (node) != G_TYPE_INT64)
    return FALSE;
  *value = json_node_get_int (node);
  return *value >= 0;
}

static JsonObject *
get_object (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static gboolean
get_endpoint (JsonObject *object, Server *server)
{
  gint64 port;

  if (object == NULL || !get_text (object, "address", &server->address)
      || !get_number (object, "port", &port) || port < 1 || port > 65535)
    return FALSE;
  server->port = port;
  return TRUE;
}

static gboolean
get_turn (JsonObject *turn, Server *server)
{
  char *transport;

  if (!get_endpoint (get_object (turn, "server"), server)
      || !get_text (turn, "transport", &transport)
      || !get_text (turn, "username", &server->username)
      || !get_text (turn, "password", &server->password))
    return FALSE;
  server->tcp = strcmp (transport, "tcp") == 0;
  return TRUE;
}

gboolean
read_configure (JsonObject *object, Configure *configure)
{
  char *role, *transport, *session, *mode;
  gint64 seed, version;
  JsonObject *options = get_object (object, "options");

  if (options == NULL || !get_number (object, "version", &version) || version != 2
      || !get_text (object, "role", &role) || !get_text (object, "transport", &transport)
      || !get_text (object, "local_address", &configure->local_address)
      || !get_text (object, "session", &session) || !octets_parse (session, configure->session)
      || !get_number (object, "seed", &seed) || !get_text (options, "mode", &mode)
      || !json_object_has_member (options, "relay_only"))
    return FALSE;
  if (strcmp (role, "dialer") != 0 && strcmp (role, "listener") != 0)
    return FALSE;
  configure->role = strcmp (role, "dialer") == 0 ? ROLE_DIALER : ROLE_LISTENER;
  configure->udp = strcmp (transport, "udp") == 0;
  configure->punch = strcmp (mode, "punch") == 0;
  configure->relay_only = json_object_get_boolean_member (options, "relay_only");
  configure->seed = (guint32) seed;
  if (get_object (object, "stun") != NULL
      && !get_endpoint (get_object (object, "stun"), &configure->stun))
    return FALSE;
  return get_object (object, "turn") == NULL
      || get_turn (get_object (object, "turn"), &configure->turn);
}

static void
add_candidate (JsonArray *array, guint index, JsonNode *node, gpointer candidates)
{
  if (json_node_get_value_type (node) == G_TYPE_STRING)
    g_ptr_array_add (candidates, json_node_dup_string (node));
}

gboolean
read_dial (JsonObject *object, Dial *dial)
{
  JsonObject *remote = get_object (object, "remote");

  if (remote == NULL || !get_number (object, "start_at", &dial->start_at))
    return FALSE;
  JsonObject *ice = get_object (remote, "ice");
  if (ice == NULL)
    return TRUE;
  JsonNode *list = json_object_get_member (ice, "candidates");
  if (list == NULL || !JSON_NODE_HOLDS_ARRAY (list) || !get_text (ice, "ufrag", &dial->ufrag)
      || !get_text (ice, "pwd", &dial->pwd))
    return FALSE;
  dial->candidates = g_ptr_array_new ();
  json_array_foreach_element (json_node_get_array (list), add_candidate, dial->candidates);
  return TRUE;
}

gboolean
read_echo (JsonObject *object, EchoAsked *asked)
{
  gint64 bytes;
  char *nonce;

  if (!get_number (object, "bytes", &bytes) || bytes < 1 || bytes > ECHO_LIMIT)
    return FALSE;
  asked->bytes = bytes;
  asked->known = json_object_has_member (object, "nonce") ? NONCE_BYTES : 0;
  return asked->known == 0
      || (get_text (object, "nonce", &nonce) && octets_parse (nonce, asked->nonce));
}
