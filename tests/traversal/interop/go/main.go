// A go-libp2p node driven by JSON lines, for the wire checks of testbed.traversal.
//
// It prints {"id":..., "addrs":[...]} when it listens, then answers one line for
// each command line it reads: {"cmd":"connect","addr":"/ip4/..."} and so on.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
)

const echoProtocol = "/testbed/echo/1.0.0"

type command struct {
	Cmd   string `json:"cmd"`
	Addr  string `json:"addr"`
	Bytes int    `json:"bytes"`
}

type answer map[string]any

func main() {
	listen := flag.String("listen", "", "comma separated multiaddrs to listen on")
	relay := flag.Bool("relay", false, "serve as a circuit relay v2")
	punch := flag.Bool("punch", false, "enable hole punching (DCUtR)")
	flag.Parse()

	options := []libp2p.Option{
		libp2p.ListenAddrStrings(strings.Split(*listen, ",")...),
		libp2p.EnableRelay(),
		libp2p.EnableNATService(),
		libp2p.EnableAutoNATv2(),
	}
	if *relay {
		options = append(options, libp2p.ForceReachabilityPublic(),
			libp2p.EnableRelayService(relayv2.WithInfiniteLimits()))
	}
	if *punch {
		options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.EnableHolePunching())
	}
	node, err := libp2p.New(options...)
	if err != nil {
		fail(err)
	}
	node.SetStreamHandler(echoProtocol, func(s network.Stream) {
		defer s.Close()
		io.Copy(s, s)
	})
	var addrs []string
	for _, a := range node.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", a, node.ID()))
	}
	say(answer{"id": node.ID().String(), "addrs": addrs})

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			say(answer{"error": err.Error()})
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		result, err := run(ctx, node, c)
		cancel()
		if err != nil {
			say(answer{"error": err.Error()})
			continue
		}
		say(result)
	}
	node.Close()
}

func run(ctx context.Context, node host.Host, c command) (answer, error) {
	info, err := peer.AddrInfoFromString(c.Addr)
	if err != nil {
		return nil, err
	}
	ctx = network.WithAllowLimitedConn(ctx, "interop")
	switch c.Cmd {
	case "connect":
		if err := node.Connect(ctx, *info); err != nil {
			return nil, err
		}
		return describe(node, info.ID)
	case "identify":
		return describe(node, info.ID)
	case "ping":
		r := <-ping.Ping(ctx, node, info.ID)
		if r.Error != nil {
			return nil, r.Error
		}
		return answer{"rtt_us": r.RTT.Microseconds()}, nil
	case "echo":
		return echo(ctx, node, info.ID, c.Bytes)
	case "reserve":
		r, err := client.Reserve(ctx, node, *info)
		if err != nil {
			return nil, err
		}
		return answer{"expiration": r.Expiration.Unix(), "addrs": texts(r.Addrs),
			"duration_s": r.LimitDuration.Seconds(), "data": r.LimitData,
			"voucher": r.Voucher != nil}, nil
	}
	return nil, fmt.Errorf("unknown command %q", c.Cmd)
}

func describe(node host.Host, id peer.ID) (answer, error) {
	protocols, err := node.Peerstore().GetProtocols(id)
	if err != nil {
		return nil, err
	}
	agent, _ := node.Peerstore().Get(id, "AgentVersion")
	var conns []string
	for _, c := range node.Network().ConnsToPeer(id) {
		conns = append(conns, c.RemoteMultiaddr().String())
	}
	return answer{"protocols": protocols, "agent": agent, "connections": conns,
		"addrs": texts(node.Peerstore().Addrs(id)), "own_addrs": texts(node.Addrs())}, nil
}

func echo(ctx context.Context, node host.Host, id peer.ID, n int) (answer, error) {
	s, err := node.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sent := make([]byte, n)
	rand.Read(sent)
	go func() {
		s.Write(sent)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil {
		return nil, err
	}
	return answer{"equal": bytes.Equal(sent, got), "bytes": len(got)}, nil
}

func texts(addrs []ma.Multiaddr) []string {
	out := []string{}
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func say(a answer) {
	line, _ := json.Marshal(a)
	fmt.Println(string(line))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
