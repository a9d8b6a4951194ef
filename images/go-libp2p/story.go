package main

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libpeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

const attempts = 3 // that the listener makes: maxRetries in p2p/protocol/holepunch

// story makes the contract's events of what go-libp2p tells: its tracer of hole punches, its
// filter of their addresses, which it asks at each CONNECT, and its connections.
type story struct {
	remote libpeer.ID
	first  chan fields // what "connected" says

	mutex    sync.Mutex
	node     host.Host
	local    endpoint
	leads    bool     // we are the listener: B of the specification
	waiting  []func() // events from before "connected" was said
	begun    bool
	attempt  int
	punching bool
	told     bool // "upgraded" or "stayed" was said
	over     bool // "close" was read: it is not go-libp2p that closes connections now
}

func newStory() *story {
	return &story{first: make(chan fields, 1)}
}

func (s *story) attach(node host.Host, local endpoint, leads bool) {
	s.node, s.local, s.leads = node, local, leads
}

// watch begins to look for connections to the other peer.
func (s *story) watch(remote libpeer.ID) {
	s.mutex.Lock()
	s.remote = remote
	s.mutex.Unlock()
	s.node.Network().Notify(&network.NotifyBundle{ConnectedF: s.opened, DisconnectedF: s.closed})
}

// begin says what was kept back; silent is why go-libp2p will not say more.
func (s *story) begin(silent string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.begun {
		return // after an echo
	}
	s.begun = true
	for _, event := range s.waiting {
		event()
	}
	s.waiting = nil
	if silent != "" {
		s.stayed(silent)
	}
}

// say tells of an event once "connected" was said.
func (s *story) say(name string, more fields) {
	if s.begun {
		emit(name, more)
		return
	}
	if _, timed := more["at"]; !timed {
		more["at"] = now()
	}
	s.waiting = append(s.waiting, func() { emit(name, more) })
}

func (s *story) step(name string, realtime int64) {
	s.say("step", fields{"name": name, "attempt": s.attempt, "realtime": realtime, "at": monotonic(realtime)})
}

// end is told before the node is closed.
func (s *story) end() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.over = true
}

// -- connections

func (s *story) opened(_ network.Network, c network.Conn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if c.RemotePeer() != s.remote {
		return
	}
	if !relayed(c.RemoteMultiaddr()) {
		if !s.leads && !s.punching {
			s.upgraded("reversed", 0)
		}
		return
	}
	relay, _ := socket(c.RemoteMultiaddr())
	select {
	case s.first <- fields{"at": now(), "local": s.local, "remote": relay, "path": "relayed"}:
	default: // a second one
	}
}

func (s *story) closed(_ network.Network, c network.Conn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if c.RemotePeer() == s.remote && relayed(c.RemoteMultiaddr()) && !s.over {
		s.step("relay_left", time.Now().UnixNano())
	}
}

// direct is a connection to the other peer that no relay carries.
func (s *story) direct() network.Conn {
	for _, c := range s.node.Network().ConnsToPeer(s.remote) {
		if !relayed(c.RemoteMultiaddr()) {
			return c
		}
	}
	return nil
}

func (s *story) upgraded(how string, attempts int) {
	c := s.direct()
	if c == nil || s.told {
		return
	}
	s.told = true
	local, ok := socket(c.LocalMultiaddr())
	if !ok {
		local = s.local
	}
	remote, _ := socket(c.RemoteMultiaddr())
	s.say("upgraded", fields{"how": how, "attempts": attempts, "local": local, "remote": remote})
}

func (s *story) stayed(reason string) {
	if !s.told {
		s.told = true
		s.say("stayed", fields{"reason": clipped(reason)})
	}
}

// -- the filter: all addresses pass

// FilterLocal is asked by the listener just before it sends CONNECT, by the dialer when the
// listener's stream is there.
func (s *story) FilterLocal(remote libpeer.ID, addresses []ma.Multiaddr) []ma.Multiaddr {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if remote == s.remote && s.leads {
		s.attempt++
		s.step("connect_sent", time.Now().UnixNano())
	}
	return addresses
}

// FilterRemote is asked when a CONNECT has come, just before the answer: CONNECT, or SYNC.
func (s *story) FilterRemote(remote libpeer.ID, addresses []ma.Multiaddr) []ma.Multiaddr {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if remote != s.remote {
		return addresses
	}
	at, answer := time.Now().UnixNano(), "sync_sent"
	if !s.leads {
		s.attempt++
		answer = "connect_sent"
	}
	s.step("connect_received", at)
	s.step(answer, at)
	return addresses
}

// -- the tracer

// Trace is told of what becomes of a hole punch.
func (s *story) Trace(e *holepunch.Event) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if e.Remote != s.remote {
		return
	}
	switch what := e.Evt.(type) {
	case *holepunch.DirectDialEvt:
		if what.Success {
			s.upgraded("reversed", 0)
		}
	case *holepunch.ProtocolErrorEvt:
		s.step("failed", e.Timestamp)
		if s.leads {
			s.stayed(what.Error)
		}
	case *holepunch.StartHolePunchEvt:
		s.punching = true
		if !s.leads {
			s.step("sync_received", e.Timestamp)
		}
		s.step("punching", e.Timestamp)
	case *holepunch.EndHolePunchEvt:
		s.ended(what, e.Timestamp)
	}
}

// ended: a connection that the other side opened counts, whatever became of our dial.
func (s *story) ended(what *holepunch.EndHolePunchEvt, at int64) {
	s.punching = false
	if !what.Success {
		s.step("failed", at)
	}
	s.upgraded("punched", s.attempt)
	if s.leads && s.attempt == attempts {
		s.stayed(what.Error)
	}
}
