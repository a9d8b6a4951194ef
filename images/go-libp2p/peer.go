package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libpeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	echoProtocol = "/testbed/echo/1.0.0"

	// As testbed/stacks/traversal.py has them: a failing pair ends within a reversal and three punches.
	// All are longer by the extra time of the command.
	dialDeadline    = 2 * time.Second // of any one dial
	meetDeadline    = 3 * time.Second // of an observer or relay
	circuitDeadline = 4 * time.Second // from start_at to the relayed connection
	echoDeadline    = 6 * time.Second

	// go-libp2p looks after 0.25, 0.75 and 1.75 s whether it knows an address to punch with.
	punchReady = 2 * time.Second
	// It looks every 5 s whether what it advertises has changed.
	advertised   = 6 * time.Second
	advertisedBy = 4 // observers: ActivationThresh in p2p/host/observedaddrs
)

// peer is one session.
type peer struct {
	configure command
	node      host.Host
	*story
}

func newPeer() *peer {
	return &peer{story: newStory()}
}

func (p *peer) close() {
	p.story.end()
	if p.node != nil {
		_ = p.node.Close()
	}
}

// gather meets the public nodes, reserves where it is to be dialed, and tells how that is done.
func (p *peer) gather(ctx context.Context, c command) (offer, error) {
	told := offer{Addresses: []endpoint{}}
	if c.Options.Mode != "punch" {
		return told, failure{"unsupported", "no mode " + c.Options.Mode}
	}
	if len(c.Relays) == 0 {
		return told, failure{"unsupported", "a relay is needed"}
	}
	node, err := newNode(c, p.story)
	if err != nil {
		return told, err
	}
	p.configure, p.node = c, node
	local := endpoint{c.LocalAddress, c.Port}
	p.story.attach(node, local, c.Role == "listener")
	node.SetStreamHandler(echoProtocol, sendBack)
	emit("listening", fields{"local": local})
	if err := p.meet(ctx, append(slices.Clone(c.Relays), c.Observers...)); err != nil {
		return told, failure{"gathering", err.Error()}
	}
	if c.Role != "listener" {
		told.Multiaddrs = []string{"/p2p/" + node.ID().String()}
		return told, nil
	}
	circuit, err := p.reserve(ctx, c.Relays[0])
	told.Multiaddrs = []string{circuit}
	return told, err
}

// meet connects to public nodes from the listening port, and waits until go-libp2p has drawn
// its conclusions from how they see us.
func (p *peer) meet(ctx context.Context, public []string) error {
	bus := p.node.EventBus()
	seen, err := bus.Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.BufSize(64))
	if err != nil {
		return err
	}
	defer seen.Close()
	changed, err := bus.Subscribe(
		[]any{new(event.EvtLocalProtocolsUpdated), new(event.EvtLocalAddressesUpdated)},
		eventbus.BufSize(64))
	if err != nil {
		return err
	}
	defer changed.Close()
	within, cancel := context.WithTimeout(ctx, p.configure.longer(meetDeadline))
	defer cancel()
	if err := errors.Join(connectAll(within, p.node, public)...); err != nil {
		return err
	}
	most, err := observations(within, seen, len(public))
	if err != nil {
		return err
	}
	if !p.configure.Options.RelayOnly {
		await(ctx, changed, punchReady, p.punches)
	}
	if most >= advertisedBy {
		await(ctx, changed, advertised, p.public)
	}
	return nil
}

// observations tells how count public nodes see us, and gives how many agree at most.
func observations(ctx context.Context, seen event.Subscription, count int) (int, error) {
	votes, most := map[string]int{}, 0
	for range count {
		select {
		case one := <-seen.Out():
			identified := one.(event.EvtPeerIdentificationCompleted)
			address, ok := socket(identified.ObservedAddr)
			if !ok {
				return most, fmt.Errorf("%s did not say how it sees us", identified.Peer)
			}
			server, _ := socket(identified.Conn.RemoteMultiaddr())
			emit("observed", fields{"address": address, "server": server})
			votes[fmt.Sprint(address)]++
			most = max(most, votes[fmt.Sprint(address)])
		case <-ctx.Done():
			return most, errors.New("a public node did not identify itself in time")
		}
	}
	return most, nil
}

// connectAll gives why it could not, for each that it could not connect to.
func connectAll(ctx context.Context, node host.Host, public []string) []error {
	done := make(chan error, len(public))
	for _, address := range public {
		go func() {
			info, err := libpeer.AddrInfoFromString(address)
			if err == nil {
				err = node.Connect(ctx, *info)
			}
			done <- err
		}()
	}
	var errs []error
	for range public {
		if err := <-done; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// await returns when what holds does, at the latest after limit: that it does not is no error.
func await(ctx context.Context, changed event.Subscription, limit time.Duration, what func() bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !what() {
		select {
		case <-changed.Out():
		case <-ctx.Done():
			return
		}
	}
}

// punches says whether go-libp2p offers DCUtR: it does once it knows a public address of its own.
func (p *peer) punches() bool {
	return slices.Contains(p.node.Mux().Protocols(), holepunch.Protocol)
}

// public says whether it advertises a public address.
func (p *peer) public() bool {
	return slices.ContainsFunc(p.node.Addrs(), func(a ma.Multiaddr) bool {
		return !relayed(a) && manet.IsPublicAddr(a)
	})
}

// reserve gives the address by which the relay lets us be dialed.
func (p *peer) reserve(ctx context.Context, relay string) (string, error) {
	within, cancel := context.WithTimeout(ctx, p.configure.longer(meetDeadline))
	defer cancel()
	info, err := libpeer.AddrInfoFromString(relay)
	if err == nil {
		_, err = client.Reserve(within, p.node, *info)
	}
	if err != nil {
		return "", failure{"gathering", err.Error()}
	}
	circuit := fmt.Sprintf("%s/p2p-circuit/p2p/%s", relay, p.node.ID())
	server, _ := socket(info.Addrs[0])
	emit("reserved", fields{"relay": server, "circuit": circuit})
	return circuit, nil
}

// dial reaches the other side through the relay, or waits to be reached.
func (p *peer) dial(ctx context.Context, c command) (fields, error) {
	if len(c.Remote.Multiaddrs) == 0 {
		return nil, failure{"unsupported", "the other side has no multiaddr"}
	}
	targets, err := infos(c.Remote.Multiaddrs)
	if err != nil {
		return nil, failure{"unsupported", err.Error()}
	}
	p.story.watch(targets.ID)
	select {
	case <-time.After(until(c.StartAt)):
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(ctx, p.configure.longer(circuitDeadline))
	defer cancel()
	broken := make(chan error, 1)
	if p.configure.Role == "dialer" {
		go func() {
			if err := p.node.Connect(limited(within), *targets); err != nil {
				broken <- err
			}
		}()
	}
	select {
	case one := <-p.story.first:
		return one, nil
	case err := <-broken:
		return nil, failure{"timeout", err.Error()}
	case <-within.Done():
		return nil, failure{"timeout", "no connection through the relay"}
	}
}

func infos(texts []string) (*libpeer.AddrInfo, error) {
	var addresses []ma.Multiaddr
	for _, text := range texts {
		one, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, one)
	}
	all, err := libpeer.AddrInfosFromP2pAddrs(addresses...)
	if err != nil {
		return nil, err
	}
	return &all[0], nil
}

// begin tells what became of the connection: "connected" has been said.
func (p *peer) begin() {
	silent := ""
	switch {
	case p.configure.Options.RelayOnly:
		silent = "upgrades are off"
	case !p.punches():
		silent = "go-libp2p does not punch: it knows no public address of its own"
	}
	p.story.begin(silent)
}

// sendBack tells what an echo begins with, and sends back all of it.
func sendBack(s network.Stream) {
	first := make([]byte, nonceBytes)
	size, err := io.ReadFull(s, first)
	if err == nil {
		emit("heard", fields{"nonce": hex.EncodeToString(first)})
	}
	_, _ = io.Copy(s, io.MultiReader(bytes.NewReader(first[:size]), s))
	_ = s.Close()
}

// echo sends count bytes, the first of which are nonce's, over the best connection there is: how
// many came back unaltered.
func (p *peer) echo(ctx context.Context, count int, nonce string) (int, error) {
	within, cancel := context.WithTimeout(ctx, p.configure.longer(echoDeadline))
	defer cancel()
	data, back := make([]byte, count), make([]byte, count)
	rand.New(rand.NewSource(p.configure.Seed)).Read(data)
	known, _ := hex.DecodeString(nonce) // the contract has been looked at
	copy(data, known)
	stream, err := p.node.NewStream(limited(within), p.story.remote, echoProtocol)
	if err != nil {
		return 0, failure{"lost", "echo: " + err.Error()}
	}
	deadline, _ := within.Deadline()
	_ = stream.SetDeadline(deadline)
	go func() { _, _ = stream.Write(data) }() // what is wrong with it, the reader is told, too
	if _, err := io.ReadFull(stream, back); err != nil {
		return 0, failure{"lost", "echo: " + err.Error()}
	}
	_ = stream.Close()
	if bytes.Equal(data, back) {
		return count, nil
	}
	equal := 0
	for i := range data {
		if data[i] == back[i] {
			equal++
		}
	}
	return equal, nil
}
