package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// newNode makes a node behind a NAT: it takes itself for private, as AutoNAT is not under test.
func newNode(c command, s *story) (host.Host, error) {
	listen := fmt.Sprintf("/ip4/%s/tcp/%d", c.LocalAddress, c.Port)
	if c.Transport == "udp" {
		listen = fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", c.LocalAddress, c.Port)
	}
	seed := sha256.Sum256([]byte(c.Session + c.Role))
	options, err := common(listen, seed[:])
	if err != nil {
		return nil, err
	}
	options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.WithDialTimeout(dialDeadline))
	if !c.Options.RelayOnly {
		options = append(options,
			libp2p.EnableHolePunching(holepunch.WithTracer(s), holepunch.WithAddrFilter(s)))
	}
	return libp2p.New(options...)
}

// common is what all nodes here have: one transport, an identity, and the relay's client.
func common(listen string, seed []byte) ([]libp2p.Option, error) {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(seed))
	if err != nil {
		return nil, err
	}
	address, err := ma.NewMultiaddr(listen)
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
	if _, err := address.ValueForProtocol(ma.P_TCP); err == nil {
		return append(options,
			libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Security(noise.ID, noise.New),
			libp2p.Muxer(yamux.ID, yamux.DefaultTransport)), nil
	}
	return append(options, libp2p.Transport(libp2pquic.NewTransport)), nil
}

// serve is a public node until it is killed: an observer that answers AutoNAT, and relays if told.
// It says its multiaddr on stdout, as testbed/peers/infrastructure.py does.
func serve(words []string) error {
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := set.String("listen", "", "multiaddr")
	seed := set.String("seed", "", "32 bytes in hexadecimal: the identity")
	relays := set.Bool("relay", false, "relay circuits")
	if err := set.Parse(words); err != nil {
		return err
	}
	bytes, err := hex.DecodeString(*seed)
	if err != nil || len(bytes) != 32 {
		return fmt.Errorf("--seed must be 32 bytes in hexadecimal")
	}
	options, err := common(*listen, bytes)
	if err != nil {
		return err
	}
	options = append(options, libp2p.ForceReachabilityPublic(),
		libp2p.EnableNATService(), libp2p.EnableAutoNATv2())
	if *relays {
		options = append(options, libp2p.EnableRelayService(relay.WithResources(relay.DefaultResources())))
	}
	node, err := libp2p.New(options...)
	if err != nil {
		return err
	}
	line, err := json.Marshal(map[string]string{"address": fmt.Sprintf("%s/p2p/%s", *listen, node.ID())})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, string(line))
	select {}
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
