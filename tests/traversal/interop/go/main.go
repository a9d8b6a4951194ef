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
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/autonat"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

const echoProtocol = "/testbed/echo/1.0.0"

type command struct {
	Cmd   string `json:"cmd"`
	Addr  string `json:"addr"`
	Bytes int    `json:"bytes"`
	Proto string `json:"proto"`
}

type answer map[string]any

func main() {
	listen := flag.String("listen", "", "comma separated multiaddrs to listen on")
	relay := flag.Bool("relay", false, "serve as a circuit relay v2")
	duration := flag.Duration("duration", 0, "as a relay: how long a circuit may last; with data")
	data := flag.Int64("data", 0, "as a relay: bytes that may pass each way of a circuit")
	private := flag.Bool("private", false, "AutoNAT v2 about private addresses, too")
	security := flag.String("security", "", "noise or tls alone, in place of both")
	authority := flag.String("authority", "", "folder of ca.pem, cert.pem and key.pem for /tls/ws")
	punch := flag.Bool("punch", false, "enable hole punching (DCUtR)")
	flag.Parse()

	options := []libp2p.Option{
		libp2p.ListenAddrStrings(strings.Split(*listen, ",")...),
		libp2p.EnableRelay(),
		libp2p.EnableNATService(),
	}
	if !*private {
		options = append(options, libp2p.EnableAutoNATv2())
	}
	if *relay {
		limit := relayv2.WithInfiniteLimits()
		if *duration > 0 && *data > 0 {
			limit = relayv2.WithLimit(&relayv2.RelayLimit{Duration: *duration, Data: *data})
		}
		options = append(options, libp2p.ForceReachabilityPublic(),
			libp2p.EnableRelayService(limit))
	}
	if *punch {
		options = append(options, libp2p.ForceReachabilityPrivate(), libp2p.EnableHolePunching())
	}
	switch *security {
	case "noise":
		options = append(options, libp2p.Security(noise.ID, noise.New))
	case "tls":
		options = append(options, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	}
	if *authority != "" {
		web, err := certified(*authority)
		if err != nil {
			fail(err)
		}
		options = append(options, libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Transport(websocket.New, web...))
	}
	node, err := libp2p.New(options...)
	if err != nil {
		fail(err)
	}
	var prover *autonatv2.AutoNAT
	if *private {
		if prover, err = startProver(node); err != nil {
			fail(err)
		}
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
		result, err := run(ctx, node, prover, c)
		cancel()
		if err != nil {
			say(answer{"error": err.Error()})
			continue
		}
		say(result)
	}
	node.Close()
}

// certified reads an authority that is trusted, and a certificate of it.
func certified(folder string) ([]any, error) {
	ca, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(
		filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return []any{
		websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}}),
		websocket.WithTLSClientConfig(&tls.Config{RootCAs: roots}),
	}, nil
}

// startProver is what EnableAutoNATv2 does, for private addresses as well.
func startProver(node host.Host) (*autonatv2.AutoNAT, error) {
	dialer, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		return nil, err
	}
	prover, err := autonatv2.New(dialer, autonatv2.AllowPrivateAddrs)
	if err != nil {
		return nil, err
	}
	return prover, prover.Start(node)
}

func run(ctx context.Context, node host.Host, prover *autonatv2.AutoNAT, c command) (answer, error) {
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
	case "handle": // a new protocol, of which identify push tells
		node.SetStreamHandler(protocol.ID(c.Proto), func(s network.Stream) { s.Close() })
		return answer{}, nil
	case "autonat1":
		err := autonat.NewAutoNATClient(node, nil, nil).DialBack(ctx, info.ID)
		return answer{"reached": err == nil, "text": fmt.Sprint(err)}, nil
	case "autonat2":
		var requests []autonatv2.Request
		for _, a := range node.Addrs() {
			requests = append(requests, autonatv2.Request{Addr: a, SendDialData: true})
		}
		result, err := prover.GetReachability(ctx, requests)
		if err != nil {
			return nil, err
		}
		return answer{"reachability": result.Reachability.String(), "addr": result.Addr.String()}, nil
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
	conns, security := []string{}, []string{}
	for _, c := range node.Network().ConnsToPeer(id) {
		conns = append(conns, c.RemoteMultiaddr().String())
		security = append(security, string(c.ConnState().Security))
	}
	return answer{"protocols": protocols, "agent": agent, "connections": conns, "security": security,
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
