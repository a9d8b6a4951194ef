/* An ICE peer on libnice: host, server-reflexive and relayed candidates (RFC 8445, RFC 8656).
 *
 * Only the host address that it is given is used, without ICE-TCP, UPnP and trickling.  Nomination
 * is regular: libnice takes the best pair as soon as two answered, or one from host to host. */

#include <glib-unix.h>
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contract.h"
#include "echo.h"

#define COMPONENT 1
#define DEADLINE_US (6 * G_USEC_PER_SEC) /* from `start_at` */
#define PATIENCE_MS 500 /* for the relay to take its allocation back */
#define LINE_LIMIT 65536

typedef enum { START, GATHERING, OFFERED, DIALING, CONNECTED, ECHOING, FAILED } State;

static struct {
  GMainLoop *loop;
  State state;
  Configure configure;
  Dial dial;
  NiceAgent *agent;
  guint stream;
  NiceAddress local;
  Echo *echo;
  GPtrArray *relays; /* NiceAddress of their relayed candidates */
  GPtrArray *others; /* and of all others */
  GString *input;
} self;

static void
die (const char *why)
{
  fprintf (stderr, "%s\n", why);
  exit (1);
}

static void
fail (const char *class, const char *reason)
{
  self.state = FAILED;
  emit ("failed", "\"failure\":\"%s\",\"reason\":\"%s\"", class, reason);
}

static char *
endpoint_json (const NiceAddress *address)
{
  char text[NICE_ADDRESS_STRING_LEN];

  nice_address_to_string (address, text);
  return g_strdup_printf ("{\"address\":\"%s\",\"port\":%u}", text, nice_address_get_port (address));
}

/* -- gathering ---------------------------------------------------------- */

static void
report_candidate (const NiceCandidate *candidate, GString *reflexive)
{
  g_autofree char *address = endpoint_json (&candidate->addr);

  switch (candidate->type) {
  case NICE_CANDIDATE_TYPE_HOST:
    emit ("listening", "\"local\":%s", address);
    break;
  case NICE_CANDIDATE_TYPE_RELAYED:
    emit ("reserved", "\"relay\":%s,\"circuit\":null", address);
    break;
  default:
    g_string_append_printf (reflexive, "%s%s", reflexive->len ? "," : "", address);
    if (self.configure.stun.address != NULL)
      emit ("observed", "\"address\":%s,\"server\":{\"address\":\"%s\",\"port\":%u}", address,
          self.configure.stun.address, self.configure.stun.port);
  }
}

static void
gathering_done (NiceAgent *agent, guint stream, gpointer unused)
{
  g_autoptr (GString) lines = g_string_new (NULL);
  g_autoptr (GString) reflexive = g_string_new (NULL);
  GSList *candidates = nice_agent_get_local_candidates (agent, stream, COMPONENT);
  char *ufrag, *pwd;

  if (self.state != GATHERING)
    return;
  if (candidates == NULL) {
    fail ("gathering", "not one candidate");
    return;
  }
  for (GSList *at = candidates; at != NULL; at = at->next) {
    g_autofree char *sdp = nice_agent_generate_local_candidate_sdp (agent, at->data);
    g_autofree char *json = quoted (g_str_has_prefix (sdp, "a=candidate:") ? sdp + 12 : sdp);

    report_candidate (at->data, reflexive);
    g_string_append_printf (lines, "%s%s", lines->len ? "," : "", json);
  }
  g_slist_free_full (candidates, (GDestroyNotify) nice_candidate_free);
  nice_agent_get_local_credentials (agent, stream, &ufrag, &pwd);
  self.state = OFFERED;
  emit ("offer",
      "\"offer\":{\"addresses\":[%s],\"multiaddrs\":[],"
      "\"ice\":{\"ufrag\":\"%s\",\"pwd\":\"%s\",\"candidates\":[%s]}},\"accepts\":[\"nonce\"]",
      reflexive->str, ufrag, pwd, lines->str);
  g_free (ufrag);
  g_free (pwd);
}

static void
send_datagram (const guint8 *datagram, gsize length, gpointer unused)
{
  /* what libnice does not take is as good as lost, and is sent again */
  nice_agent_send (self.agent, self.stream, COMPONENT, length, (const char *) datagram);
}

static void
echoed (gsize returned, gpointer unused)
{
  self.state = CONNECTED;
  emit ("echoed", "\"bytes\":%" G_GSIZE_FORMAT, returned);
}

static void
received (NiceAgent *agent, guint stream, guint component, guint length, char *data, gpointer unused)
{
  echo_received (self.echo, (const guint8 *) data, length);
}

static void state_changed (NiceAgent *agent, guint stream, guint component, guint state,
    gpointer unused);

static void
gather (JsonObject *command)
{
  Configure *configure = &self.configure;
  if (!read_configure (command, configure))
    die ("not a valid configure");
  nice_address_init (&self.local);
  if (!nice_address_set_from_string (&self.local, configure->local_address))
    die ("local_address is no address");
  self.state = GATHERING;
  if (!configure->udp || !configure->punch) {
    fail ("unsupported", configure->udp ? "no such mode" : "this peer speaks udp only");
    return;
  }
  self.echo = echo_new (configure->role, configure->session, send_datagram, echoed, NULL);
  self.agent = nice_agent_new_full (g_main_loop_get_context (self.loop),
      NICE_COMPATIBILITY_RFC5245, NICE_AGENT_OPTION_REGULAR_NOMINATION);
  g_object_set (self.agent, "controlling-mode", configure->role == ROLE_DIALER, "ice-tcp", FALSE,
      "upnp", FALSE, "force-relay", configure->relay_only, NULL);
  if (configure->stun.address != NULL)
    g_object_set (self.agent, "stun-server", configure->stun.address, "stun-server-port",
        configure->stun.port, NULL);
  nice_agent_add_local_address (self.agent, &self.local);
  self.stream = nice_agent_add_stream (self.agent, 1);
  if (configure->turn.address != NULL)
    nice_agent_set_relay_info (self.agent, self.stream, COMPONENT, configure->turn.address,
        configure->turn.port, configure->turn.username, configure->turn.password,
        configure->turn.tcp ? NICE_RELAY_TYPE_TURN_TCP : NICE_RELAY_TYPE_TURN_UDP);
  nice_agent_attach_recv (self.agent, self.stream, COMPONENT, g_main_loop_get_context (self.loop),
      received, NULL);
  g_signal_connect (self.agent, "candidate-gathering-done", G_CALLBACK (gathering_done), NULL);
  g_signal_connect (self.agent, "component-state-changed", G_CALLBACK (state_changed), NULL);
  if (!nice_agent_gather_candidates (self.agent, self.stream))
    fail ("gathering", "libnice could not gather");
}

/* -- dialing ------------------------------------------------------------ */

static void
at_instant (gint64 microseconds, GSourceFunc function)
{
  gint64 left = microseconds - g_get_monotonic_time ();

  g_timeout_add (left > 0 ? (left + 999) / 1000 : 0, function, NULL);
}

static gboolean
is_among (const NiceAddress *address, const GPtrArray *known)
{
  for (guint at = 0; at < known->len; at++)
    if (nice_address_equal_no_port (address, known->pdata[at]))
      return TRUE;
  return FALSE;
}

static gboolean
is_relayed (const NiceCandidate *local, const NiceCandidate *remote)
{
  /* A NAT may rewrite the port of what a relay sends.  The candidate is peer-reflexive then: ours
     has the relay for its base, theirs has the relay's address.  One whose relay is at home has
     that address, too: the relay's own port alone tells them apart then. */
  if (local->type == NICE_CANDIDATE_TYPE_RELAYED
      || !nice_address_equal_no_port (&local->base_addr, &self.local))
    return TRUE;
  for (guint at = 0; at < self.relays->len; at++)
    if (nice_address_equal (&remote->addr, self.relays->pdata[at]))
      return TRUE;
  return is_among (&remote->addr, self.relays) && !is_among (&remote->addr, self.others);
}

static void
state_changed (NiceAgent *agent, guint stream, guint component, guint state, gpointer unused)
{
  NiceCandidate *local, *remote;

  if (state == NICE_COMPONENT_STATE_FAILED && self.state == DIALING)
    fail ("checks", "every candidate pair failed");
  else if (state == NICE_COMPONENT_STATE_FAILED && self.state >= CONNECTED && self.state != FAILED)
    fail ("lost", "libnice gave the component up");
  /* connected: a pair is nominated.  Ready would be when all better ones have failed. */
  gboolean works = state == NICE_COMPONENT_STATE_CONNECTED || state == NICE_COMPONENT_STATE_READY;
  if (!works || self.state != DIALING
      || !nice_agent_get_selected_pair (agent, stream, component, &local, &remote))
    return;
  g_autofree char *from = endpoint_json (
      local->type == NICE_CANDIDATE_TYPE_RELAYED ? &local->addr : &local->base_addr);
  g_autofree char *to = endpoint_json (&remote->addr);
  self.state = CONNECTED;
  emit ("connected", "\"local\":%s,\"remote\":%s,\"path\":\"%s\"", from, to,
      is_relayed (local, remote) ? "relayed" : "direct");
}

static gboolean
deadline_passed (gpointer unused)
{
  if (self.state == DIALING)
    fail ("timeout", "no candidate pair within 6 s");
  return G_SOURCE_REMOVE;
}

static gboolean
start_checks (gpointer unused)
{
  GSList *candidates = NULL;

  if (self.state != DIALING)
    return G_SOURCE_REMOVE;
  self.relays = g_ptr_array_new ();
  self.others = g_ptr_array_new ();
  for (guint at = 0; at < self.dial.candidates->len; at++) {
    g_autofree char *line = g_strconcat ("a=candidate:", self.dial.candidates->pdata[at], NULL);
    NiceCandidate *one = nice_agent_parse_remote_candidate_sdp (self.agent, self.stream, line);

    if (one == NULL)
      continue; /* of a kind that libnice does not know */
    gboolean relayed = one->type == NICE_CANDIDATE_TYPE_RELAYED;
    g_ptr_array_add (relayed ? self.relays : self.others, nice_address_dup (&one->addr));
    if (self.configure.relay_only && !relayed) {
      nice_candidate_free (one);
      continue; /* it is not wanted */
    }
    candidates = g_slist_append (candidates, one);
  }
  nice_agent_set_remote_credentials (self.agent, self.stream, self.dial.ufrag, self.dial.pwd);
  nice_agent_set_remote_candidates (self.agent, self.stream, COMPONENT, candidates);
  g_slist_free_full (candidates, (GDestroyNotify) nice_candidate_free);
  return G_SOURCE_REMOVE;
}

static void
dial (JsonObject *command)
{
  if (!read_dial (command, &self.dial))
    die ("not a valid dial");
  self.state = DIALING;
  if (self.dial.ufrag == NULL) {
    fail ("unsupported", "the other side's offer is not for ICE");
    return;
  }
  at_instant (self.dial.start_at / 1000, start_checks);
  at_instant (self.dial.start_at / 1000 + DEADLINE_US, deadline_passed);
}

/* -- the conversation --------------------------------------------------- */

static void
obey (const char *line)
{
  const char *word;
  JsonObject *command = parse_command (line, &word);
  EchoAsked asked;

  if (command == NULL)
    die ("not a command");
  if (strcmp (word, "close") == 0 && self.state != START)
    g_main_loop_quit (self.loop);
  else if (strcmp (word, "configure") == 0 && self.state == START)
    gather (command);
  else if (strcmp (word, "dial") == 0 && self.state == OFFERED)
    dial (command);
  else if (strcmp (word, "echo") == 0 && self.state == CONNECTED) {
    if (!read_echo (command, &asked))
      die ("not a valid echo");
    self.state = ECHOING;
    echo_start (self.echo, &asked, self.configure.seed);
  } else if (self.state != FAILED || (strcmp (word, "dial") && strcmp (word, "echo")))
    die ("a command out of order"); /* after a failure they are without effect */
}

static gboolean
readable (int fd, GIOCondition condition, gpointer unused)
{
  char block[4096], *end;
  gssize got = read (fd, block, sizeof block);

  if (got <= 0)
    die ("the harness went away without a word");
  g_string_append_len (self.input, block, got);
  while ((end = memchr (self.input->str, '\n', self.input->len)) != NULL) {
    g_autofree char *line = g_strndup (self.input->str, end - self.input->str);

    g_string_erase (self.input, 0, strlen (line) + 1);
    obey (line);
  }
  if (self.input->len > LINE_LIMIT)
    die ("a line that is too long");
  return G_SOURCE_CONTINUE;
}

static void
closed (GObject *agent, GAsyncResult *result, gpointer unused)
{
  g_main_loop_quit (self.loop);
}

static gboolean
patience_over (gpointer unused)
{
  g_main_loop_quit (self.loop);
  return G_SOURCE_REMOVE;
}

/* Gives the relay's allocation back, if the server answers in time. */
static void
let_go (void)
{
  if (self.agent == NULL)
    return;
  nice_agent_close_async (self.agent, closed, NULL);
  g_timeout_add (PATIENCE_MS, patience_over, NULL);
  g_main_loop_run (self.loop);
  g_clear_object (&self.agent);
}

int
main (int argc, char **argv)
{
  if (argc == 2 && strcmp (argv[1], "--version") == 0) {
    puts ("libnice " LIBNICE_VERSION);
    return 0;
  }
  self.loop = g_main_loop_new (NULL, FALSE);
  self.input = g_string_new (NULL);
  g_unix_fd_add (STDIN_FILENO, G_IO_IN | G_IO_HUP, readable, NULL);
  g_main_loop_run (self.loop);
  let_go ();
  if (self.echo != NULL)
    echo_free (self.echo);
  emit ("closed", "%s", "");
  return 0;
}
