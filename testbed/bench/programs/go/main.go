// go-libp2p, as the two programs of testbed.bench.ways.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	sink  = "/testbed/sink/1.0.0"
	chunk = 65536
)

func main() {
	kind, role, host, port, rest := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	listen := fmt.Sprintf("/ip4/%s/tcp/%s", host, port)
	if kind == "quic" {
		listen = fmt.Sprintf("/ip4/%s/udp/%s/quic-v1", host, port)
	}
	node, err := libp2p.New(libp2p.ListenAddrStrings(listen))
	check(err)
	if role == "receive" {
		node.SetStreamHandler(sink, count)
		fmt.Printf("%s/p2p/%s\n", listen, node.ID())
		select {}
	}
	size, err := strconv.Atoi(rest[1])
	check(err)
	ctx := context.Background()
	info, err := peer.AddrInfoFromString(rest[0])
	check(err)
	check(node.Connect(ctx, *info))
	s, err := node.NewStream(ctx, info.ID, sink)
	check(err)
	fmt.Println("open")
	start := time.Now()
	data := make([]byte, chunk)
	for i := 0; i < size/chunk; i++ {
		_, err = s.Write(data)
		check(err)
	}
	check(s.CloseWrite())
	answer := make([]byte, 8)
	_, err = io.ReadFull(s, answer)
	check(err)
	if counted := binary.BigEndian.Uint64(answer); counted != uint64(size) {
		check(fmt.Errorf("%d bytes arrived", counted))
	}
	fmt.Println(time.Since(start).Seconds())
}

func count(s network.Stream) {
	counted, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, chunk))
	check(err)
	answer := make([]byte, 8)
	binary.BigEndian.PutUint64(answer, uint64(counted))
	_, err = s.Write(answer)
	check(err)
	check(s.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
