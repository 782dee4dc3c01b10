package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "shadowkeep.dev/proto/shadowkeep/v1"
)

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// writer is one trainer process: one stream for the whole training.
type writer struct {
	number     int
	service    pb.ShadowWeightsClient
	generation uint64
	session    string
	beforeStep func(step int)
	stream     grpc.BidiStreamingClient[pb.UpdateRequest, pb.UpdateResponse]
}

func (w *writer) train(ctx context.Context) error {
	if _, err := w.open(ctx, false); err != nil {
		return err
	}
	for step := 0; step < stepCount; step++ {
		if w.beforeStep != nil {
			w.beforeStep(step)
		}
		if err := w.push(ctx, step); err != nil {
			return fmt.Errorf("writer %d, step %d: %w", w.number, step, err)
		}
	}
	return nil
}

// open opens the stream, or a new one in the place of a broken one. It is answered when all writers have declared.
func (w *writer) open(ctx context.Context, takeover bool) (*pb.UpdateOpened, error) {
	stream, err := w.service.Update(ctx, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	w.stream = stream
	open := &pb.UpdateOpen{
		Run: run, Generation: w.generation, Writer: uint32(w.number), Boxes: shares[w.number], Takeover: takeover, Session: w.session,
	}
	// What is wrong with a message is said by Recv.
	_ = stream.Send(&pb.UpdateRequest{Message: &pb.UpdateRequest_Open{Open: open}})
	answer, err := stream.Recv()
	return answer.GetOpened(), err
}

// push sends a step and waits for its ack, over as many connections as that takes.
func (w *writer) push(ctx context.Context, step int) error {
	space := w.byteSpace(step)
	from, isWhole := 0, false
	for {
		ack, err := w.send(step, space, from, isWhole)
		if err == nil {
			if ack.Step != uint64(step) || ack.State != pb.StepState_STEP_STATE_COMMITTED {
				return fmt.Errorf("acknowledged as %v", ack)
			}
			return nil
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
		opened, err := w.open(ctx, true)
		if err != nil {
			return err
		}
		if opened.CommittedStep != nil && *opened.CommittedStep >= uint64(step) {
			return nil // Only the ack was lost.
		}
		from, isWhole = 0, false
		if opened.Step != nil && *opened.Step == uint64(step) {
			from, isWhole = int(opened.ReceivedBytes), opened.Whole
		}
		fmt.Printf("writer %d lost its connection in step %d and goes on from byte %d of %d\n", w.number, step, from, len(space))
		if from == 0 || from >= len(space) {
			log.Fatal("nothing of the step was kept, or all of it: the connection was not cut in its middle")
		}
	}
}

// send sends the rest of a step and its commit, unless the service has all of it, and waits for the ack.
func (w *writer) send(step int, space []byte, from int, isWhole bool) (*pb.Ack, error) {
	for !isWhole && from < len(space) {
		end := min(from+chunkMax, len(space))
		crc := crc32.Checksum(space[from:end], castagnoli)
		chunk := &pb.Chunk{Step: uint64(step), Offset: uint64(from), Crc32C: &crc, Data: space[from:end]}
		if w.stream.Send(&pb.UpdateRequest{Message: &pb.UpdateRequest_Chunk{Chunk: chunk}}) != nil {
			break // The stream has ended; Recv says why.
		}
		from = end
	}
	if !isWhole {
		commit := &pb.Commit{Step: uint64(step), Bytes: uint64(len(space)), Initial: step == 0}
		_ = w.stream.Send(&pb.UpdateRequest{Message: &pb.UpdateRequest_Commit{Commit: commit}})
	}
	answer, err := w.stream.Recv()
	return answer.GetAck(), err
}

// byteSpace is the writer's part of a step: its boxes one after another, each at the next multiple of 64 bytes.
func (w *writer) byteSpace(step int) []byte {
	var space []byte
	for _, box := range shares[w.number] {
		tensor := int(box.Tensor)
		if layout[tensor].Dtype == pb.Dtype_DTYPE_I64 {
			space = little.AppendUint64(space, uint64(step))
			space = little.AppendUint64(space, 7)
		} else {
			first, elements := 0, count(layout[tensor].Shape)
			if len(box.Extent) > 0 { // Whole rows: one run of the tensor's elements.
				first, elements = int(box.Offset[0]*box.Extent[1]), count(box.Extent)
			}
			for i := range elements {
				space = little.AppendUint32(space, math.Float32bits(value(step, tensor, first+i)))
			}
		}
		space = append(space, make([]byte, (64-len(space)%64)%64)...)
	}
	return space
}
