package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "shadowkeep.dev/proto/shadowkeep/v1"
)

// proxy is a network between a client and the service that stops in the middle of what is sent, and is cut there.
type proxy struct {
	listener net.Listener
	target   string
	mutex    sync.Mutex
	open     []net.Conn
	// Bytes that still pass to the service before nothing does; negative: all.
	left atomic.Int64
}

func newProxy(target string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	p := &proxy{listener: listener, target: target}
	p.left.Store(-1)
	go func() {
		for {
			client, err := listener.Accept()
			check(err)
			server, err := net.Dial("tcp", target)
			check(err)
			p.mutex.Lock()
			p.open = append(p.open, client, server)
			p.mutex.Unlock()
			go p.copy(server, client, true)
			go p.copy(client, server, false)
		}
	}()
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// stallIn lets about five chunks of a step pass, and the last of them not whole.
func (p *proxy) stallIn(step int) func(int) {
	return func(now int) {
		if now == step {
			p.left.Store(5*chunkMax + chunkMax/2)
		}
	}
}

// cut closes every connection; those that come after it are whole.
func (p *proxy) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, connection := range p.open {
		_ = connection.Close()
	}
	p.open = nil
	p.left.Store(-1)
}

func (p *proxy) copy(to, from net.Conn, isUpload bool) {
	buffer := make([]byte, 16<<10)
	for {
		count, err := from.Read(buffer)
		if isUpload {
			if left := p.left.Load(); left >= 0 {
				count = min(count, int(left))
				p.left.Store(left - int64(count))
			}
		}
		if _, failed := to.Write(buffer[:count]); failed != nil || err != nil {
			return
		}
	}
}

// waitForBytes waits until the service has so many bytes of a writer's part of a step.
func waitForBytes(ctx context.Context, service pb.ShadowWeightsClient, number int, step, bytes uint64) {
	for {
		state, err := service.GetRun(ctx, &pb.GetRunRequest{Run: run})
		check(err)
		writer := state.WriterStates[number]
		if writer.GetReceivingStep() == step && writer.ReceivedBytes >= bytes {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
