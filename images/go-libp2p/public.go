package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/host/autonat"
	"github.com/libp2p/go-libp2p/p2p/host/autonat/pb"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	askPause        = time.Second      // between two servers that AutoNAT v1 asks; 90 s in a usual node
	confident       = 3                // maxConfidence in p2p/host/autonat
	verdictDeadline = 40 * time.Second // a server tries for 15 s
)

// serve makes a public node: it observes and answers AutoNAT, and relays if that is its role.
func (p *peer) serve(c command) (fields, error) {
	options, err := common(c)
	if err != nil {
		return nil, err
	}
	if c.Announce != nil {
		announced, err := ma.NewMultiaddr(reached(c))
		if err != nil {
			return nil, err
		}
		options = append(options, libp2p.AddrsFactory(
			func([]ma.Multiaddr) []ma.Multiaddr { return []ma.Multiaddr{announced} }))
	}
	node, err := libp2p.New(append(options,
		libp2p.ForceReachabilityPublic(),
		libp2p.EnableNATService(),
		libp2p.EnableAutoNATv2(),
		// Else a server that has just started answers nobody over QUIC: AutoNAT v2 dials by
		// UDP only once a hundred dials of the node's own are recorded, five of them good.
		libp2p.UDPBlackHoleSuccessCounter(nil))...)
	if err != nil {
		return nil, err
	}
	p.node = node
	if c.Role == "relay" {
		if _, err := relay.New(node); err != nil {
			return nil, err
		}
	}
	address := fmt.Sprintf("%s/p2p/%s", reached(c), node.ID())
	return fields{"addresses": []string{address}}, nil
}

// ask connects to the servers, and gives what go-libp2p concludes of their answers.
func (p *peer) ask(ctx context.Context, c command) (fields, error) {
	options, err := common(c)
	if err != nil {
		return nil, err
	}
	node, err := libp2p.New(append(options,
		libp2p.ForceReachabilityPrivate(), // of its own v1, which would begin after 15 s
		libp2p.EnableAutoNATv2(), libp2p.WithDialTimeout(c.longer(dialDeadline)))...)
	if err != nil {
		return nil, err
	}
	p.configure, p.node = c, node
	emit("listening", fields{"local": endpoint{c.LocalAddress, c.Port}})
	bus := node.EventBus()
	seen, err := bus.Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.BufSize(64))
	if err != nil {
		return nil, err
	}
	defer seen.Close()
	judged, err := bus.Subscribe(new(event.EvtHostReachableAddrsChanged), eventbus.BufSize(64))
	if err != nil {
		return nil, err
	}
	defer judged.Close()
	within, cancel := context.WithTimeout(ctx, verdictDeadline)
	defer cancel()
	met := len(c.Observers) - len(connectAll(within, node, c.Observers))
	agreed, err := observations(within, seen, met)
	if err != nil {
		return nil, failure{"gathering", err.Error()}
	}
	node1 := make(chan network.Reachability, 1)
	go func() { node1 <- p.judgeNode(within, met) }()
	v2 := []fields{}
	if agreed >= advertisedBy { // else it has no address to ask about
		v2 = judgeAddresses(within, judged)
	}
	return fields{"v1": word(<-node1), "v2": v2}, nil
}

// judgeNode is AutoNAT v1, of which go-libp2p asks one server after the other until it is sure.
func (p *peer) judgeNode(ctx context.Context, servers int) network.Reachability {
	if servers == 0 {
		return network.ReachabilityUnknown
	}
	sure := confidence{make(chan struct{}, 1)}
	v1, err := autonat.New(p.node,
		autonat.UsingAddresses(p.publicAddresses),
		autonat.WithoutStartupDelay(),
		autonat.WithSchedule(askPause, time.Hour),
		autonat.WithMetricsTracer(sure))
	if err != nil {
		return network.ReachabilityUnknown
	}
	defer v1.Close()
	select {
	case <-sure.reached:
	case <-ctx.Done():
	}
	return v1.Status()
}

// publicAddresses are those that go-libp2p has v1 ask about.
func (p *peer) publicAddresses() []ma.Multiaddr {
	all := p.node.(interface{ AllAddrs() []ma.Multiaddr }).AllAddrs()
	return slices.DeleteFunc(all, func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
}

// judgeAddresses is AutoNAT v2, which go-libp2p uses by itself: its verdicts once it has all.
func judgeAddresses(ctx context.Context, judged event.Subscription) []fields {
	var last event.EvtHostReachableAddrsChanged
	for len(last.Reachable)+len(last.Unreachable) == 0 || len(last.Unknown) > 0 {
		select {
		case one := <-judged.Out():
			last = one.(event.EvtHostReachableAddrsChanged)
		case <-ctx.Done():
			return verdicts(last)
		}
	}
	return verdicts(last)
}

func verdicts(said event.EvtHostReachableAddrsChanged) []fields {
	found := []fields{}
	for verdict, addresses := range map[string][]ma.Multiaddr{
		"public": said.Reachable, "private": said.Unreachable, "unknown": said.Unknown,
	} {
		for _, one := range addresses {
			address, _ := socket(one)
			found = append(found, fields{"address": address, "verdict": verdict})
		}
	}
	return found
}

func word(one network.Reachability) string {
	return strings.ToLower(one.String())
}

// confidence hears how sure AutoNAT v1 is of itself, which nothing but metrics are told.
type confidence struct{ reached chan struct{} }

func (c confidence) ReachabilityStatusConfidence(level int) {
	if level == confident {
		select {
		case c.reached <- struct{}{}:
		default:
		}
	}
}

func (confidence) ReachabilityStatus(network.Reachability)        {}
func (confidence) ReceivedDialResponse(pb.Message_ResponseStatus) {}
func (confidence) OutgoingDialResponse(pb.Message_ResponseStatus) {}
func (confidence) OutgoingDialRefused(string)                     {}
func (confidence) NextProbeTime(time.Time)                        {}
