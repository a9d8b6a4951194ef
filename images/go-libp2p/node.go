package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// newNode makes a node behind a NAT: it takes itself for private, as AutoNAT is not under test.
func newNode(c command, s *story) (host.Host, error) {
	options, err := common(c)
	if err != nil {
		return nil, err
	}
	options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.WithDialTimeout(c.longer(dialDeadline)))
	if !c.Options.RelayOnly {
		options = append(options,
			libp2p.EnableHolePunching(holepunch.WithTracer(s), holepunch.WithAddrFilter(s)))
	}
	return libp2p.New(options...)
}

// listens is the address of the configured port.
func listens(c command) string {
	if c.Transport == "udp" {
		return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", c.LocalAddress, c.Port)
	}
	return fmt.Sprintf("/ip4/%s/tcp/%d", c.LocalAddress, c.Port)
}

// reached is the address by which others know a public node: behind a NAT, not its own.
func reached(c command) string {
	if c.Announce != nil {
		c.LocalAddress, c.Port = c.Announce.Address, c.Announce.Port
	}
	return listens(c)
}

// common is what all nodes here have: one transport, an identity, and the relay's client.
func common(c command) ([]libp2p.Option, error) {
	seed := sha256.Sum256([]byte(c.Session + c.Role))
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(seed[:]))
	if err != nil {
		return nil, err
	}
	address, err := ma.NewMultiaddr(listens(c))
	if err != nil {
		return nil, err
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.ListenAddrs(address),
		libp2p.EnableRelay(),
		libp2p.DisableMetrics(),
		libp2p.NoTransports,
	}
	if c.Transport == "tcp" {
		return append(options,
			libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Security(noise.ID, noise.New),
			libp2p.Muxer(yamux.ID, yamux.DefaultTransport)), nil
	}
	return append(options, libp2p.Transport(libp2pquic.NewTransport)), nil
}

// limited lets a relayed connection do, which has limits.
func limited(ctx context.Context) context.Context {
	return network.WithAllowLimitedConn(ctx, "the testbed's peers meet by a relay")
}

// socket is the IPv4 address and port that an address begins with; of a circuit, the relay's.
func socket(address ma.Multiaddr) (endpoint, bool) {
	if address == nil {
		return endpoint{}, false
	}
	ip, err := address.ValueForProtocol(ma.P_IP4)
	if err != nil {
		return endpoint{}, false
	}
	text, err := address.ValueForProtocol(ma.P_TCP)
	if err != nil {
		text, err = address.ValueForProtocol(ma.P_UDP)
	}
	port, bad := strconv.Atoi(text)
	return endpoint{ip, port}, err == nil && bad == nil
}

// relayed says whether an address is a circuit's.
func relayed(address ma.Multiaddr) bool {
	_, err := address.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
