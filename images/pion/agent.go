package main

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

const (
	deadline     = 6 * time.Second // from start_at
	stunPatience = 2 * time.Second // for a server's answer while gathering, TCP's too
)

// failure is a result: there is no connection, and why.
type failure struct{ class, reason string }

func (f failure) Error() string { return f.reason }

// peer is one session with the harness.
type peer struct {
	configure command
	agent     *ice.Agent
	conn      *ice.Conn
	echo      *echo
}

// gather opens what is needed, says what was learnt, gives what is to be signalled.
//
// pion keeps its own timers and nomination; only the given host address is used, without
// mDNS, IPv6 and ICE-TCP.  A TURN server that nothing answers for over TCP it would wait for as
// long as the kernel repeats SYNs, two minutes, and offer nothing before.
func (p *peer) gather() (offer, error) {
	none := offer{}
	c := p.configure
	if c.Transport != "udp" || c.Options.Mode != "punch" {
		return none, failure{"unsupported", "no " + c.Transport + " with mode " + c.Options.Mode}
	}
	agent, err := ice.NewAgentWithOptions(p.options()...)
	if err != nil {
		return none, err
	}
	p.agent = agent
	found := make(chan []ice.Candidate, 1)
	var candidates []ice.Candidate
	err = agent.OnCandidate(func(one ice.Candidate) {
		if one == nil {
			found <- candidates
			return
		}
		candidates = append(candidates, one)
	})
	if err == nil {
		err = agent.GatherCandidates()
	}
	if err != nil {
		return none, failure{"gathering", err.Error()}
	}
	return p.offer(<-found) // pion's own timeouts end it
}

func (p *peer) options() []ice.AgentOption {
	c := p.configure
	chosen := []ice.AgentOption{
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithSTUNGatherTimeout(stunPatience),
		ice.WithProxyDialer(&net.Dialer{Timeout: stunPatience}),
		ice.WithIPFilter(func(ip net.IP) bool { return ip.String() == c.LocalAddress }),
	}
	if c.Options.RelayOnly {
		relayed := []ice.CandidateType{ice.CandidateTypeRelay}
		chosen = append(chosen, ice.WithCandidateTypes(relayed))
	}
	var servers []*stun.URI
	if c.Stun != nil && !c.Options.RelayOnly {
		servers = append(servers, &stun.URI{
			Scheme: stun.SchemeTypeSTUN, Host: c.Stun.Address, Port: c.Stun.Port,
			Proto: stun.ProtoTypeUDP,
		})
	}
	if c.Turn != nil {
		protocol, network := stun.ProtoTypeUDP, ice.NetworkTypeUDP4
		if c.Turn.Transport == "tcp" {
			protocol, network = stun.ProtoTypeTCP, ice.NetworkTypeTCP4
		}
		servers = append(servers, &stun.URI{
			Scheme: stun.SchemeTypeTURN, Host: c.Turn.Server.Address, Port: c.Turn.Server.Port,
			Proto: protocol, Username: c.Turn.Username, Password: c.Turn.Password,
		})
		transports := []ice.NetworkType{network}
		chosen = append(chosen, ice.WithTURNTransportProtocols(transports))
	}
	return append(chosen, ice.WithUrls(servers))
}

func (p *peer) offer(candidates []ice.Candidate) (offer, error) {
	told := offer{Addresses: []endpoint{}, Multiaddrs: []string{}}
	if len(candidates) == 0 {
		return told, failure{"gathering", "not one candidate"}
	}
	ufrag, pwd, err := p.agent.GetLocalUserCredentials()
	if err != nil {
		return told, err
	}
	told.Ice = &iceParameters{Ufrag: ufrag, Pwd: pwd}
	for _, one := range candidates {
		address := endpoint{one.Address(), one.Port()}
		told.Ice.Candidates = append(told.Ice.Candidates, one.Marshal())
		switch one.Type() {
		case ice.CandidateTypeHost:
			emit("listening", fields{"local": address})
		case ice.CandidateTypeRelay:
			emit("reserved", fields{"relay": address, "circuit": nil})
		case ice.CandidateTypeServerReflexive:
			told.Addresses = append(told.Addresses, address)
			emit("observed", fields{"address": address, "server": p.configure.Stun})
		}
	}
	return told, nil
}

// dial reaches the other side, and gives the fields of the event "connected".
func (p *peer) dial(ctx context.Context, c command) (fields, error) {
	remote := c.Remote.Ice
	if remote == nil {
		return nil, failure{"unsupported", "the other side's offer is not for ICE"}
	}
	theirs := relays{ends: map[endpoint]bool{}, addresses: map[string]bool{}}
	for _, line := range remote.Candidates {
		one, err := ice.UnmarshalCandidate(line)
		if err != nil {
			continue // of a kind that pion does not know
		}
		relayed := one.Type() == ice.CandidateTypeRelay
		if relayed {
			theirs.ends[endpoint{one.Address(), one.Port()}] = true
		}
		if relayed || !p.configure.Options.RelayOnly {
			if err := p.add(ctx, one); err != nil {
				return nil, err
			}
		}
	}
	theirs.settle(remote.Candidates)
	select {
	case <-time.After(until(c.StartAt)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	connect := p.agent.Dial
	if p.configure.Role == "listener" {
		connect = p.agent.Accept
	}
	conn, err := connect(ctx, remote.Ufrag, remote.Pwd)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, failure{"timeout", "no candidate pair within " + deadline.String()}
	}
	if err != nil {
		return nil, failure{"checks", err.Error()}
	}
	return p.connected(conn, theirs)
}

// relays are what the other side's relayed candidates are known by.
//
// A NAT may rewrite the port of what a relay sends: a peer-reflexive candidate then, at an address
// that is the relay's alone.  One whose relay is at home has the same address as its relay.
type relays struct {
	ends      map[endpoint]bool
	addresses map[string]bool
}

func (r relays) settle(lines []string) {
	for one := range r.ends {
		r.addresses[one.Address] = true
	}
	for _, line := range lines {
		one, err := ice.UnmarshalCandidate(line)
		if err == nil && one.Type() != ice.CandidateTypeRelay {
			delete(r.addresses, one.Address())
		}
	}
}

func (r relays) have(one endpoint) bool { return r.ends[one] || r.addresses[one.Address] }

// add waits until pion has taken the candidate: it does so in a goroutine for each, and the
// order of its checks would be chance.
func (p *peer) add(ctx context.Context, one ice.Candidate) error {
	if err := p.agent.AddRemoteCandidate(one); err != nil {
		return err
	}
	for ctx.Err() == nil {
		known, err := p.agent.GetRemoteCandidates()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(known, one.Equal) {
			return nil
		}
		runtime.Gosched()
	}
	return ctx.Err()
}

// connected says which pair was selected.
func (p *peer) connected(conn *ice.Conn, theirs relays) (fields, error) {
	pair, err := p.agent.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return nil, failure{"checks", "connected without a pair"}
	}
	p.conn = conn
	go func() { _ = p.echo.serve(conn) }() // what ends it, `echo` finds out
	local := endpoint{pair.Local.Address(), pair.Local.Port()}
	related := pair.Local.RelatedAddress()
	if related != nil && pair.Local.Type() != ice.CandidateTypeRelay {
		local = endpoint{related.Address, related.Port}
	}
	remote := endpoint{pair.Remote.Address(), pair.Remote.Port()}
	path := "direct"
	if pair.Local.Type() == ice.CandidateTypeRelay || theirs.have(remote) {
		path = "relayed"
	}
	return fields{"local": local, "remote": remote, "path": path}, nil
}
