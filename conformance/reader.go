package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"log"

	pb "shadowkeep.dev/proto/shadowkeep/v1"
)

// read reads an average at a step. It breaks the read off after a few chunks and resumes it, as after a lost connection.
func read(ctx context.Context, service pb.ShadowWeightsClient, average string, step uint64) (*pb.ShadowHeader, []byte) {
	request := &pb.GetShadowRequest{
		Run: run, Average: average, Checksums: true, ChunkBytes: chunkMax,
		Version: &pb.GetShadowRequest_Step{Step: step},
	}
	header, data, isWhole := readUntil(ctx, service, request, nil, 3)
	if isWhole || len(data) == 0 {
		log.Fatalf("%d bytes are no part of a read", len(data))
	}
	fmt.Printf("read of %s broken off at byte %d of %d\n", average, len(data), header.TotalBytes)
	resume := &pb.Resume{Version: header.Version, Offset: uint64(len(data))}
	request.Version = &pb.GetShadowRequest_Resume{Resume: resume}
	again, data, isWhole := readUntil(ctx, service, request, data, 0)
	if !isWhole || again.Version != header.Version || again.Step != step || uint64(len(data)) != header.TotalBytes {
		log.Fatalf("step %d of version %d goes on as step %d of version %d, %d bytes", step, header.Version, again.Step, again.Version, len(data))
	}
	return header, data
}

// readUntil appends what comes to data, at most chunkCount chunks unless that is 0; whether the read has come to its end.
func readUntil(ctx context.Context, service pb.ShadowWeightsClient, request *pb.GetShadowRequest, data []byte, chunkCount int) (*pb.ShadowHeader, []byte, bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := service.GetShadow(ctx, request)
	check(err)
	var header *pb.ShadowHeader
	for chunks := 0; ; {
		answer, err := stream.Recv()
		check(err)
		switch message := answer.Message.(type) {
		case *pb.GetShadowResponse_Header:
			header = message.Header
		case *pb.GetShadowResponse_Tensors:
			header.Tensors = append(header.Tensors, message.Tensors.Tensors...)
		case *pb.GetShadowResponse_Chunk:
			chunk := message.Chunk
			if chunk.Offset != uint64(len(data)) || chunk.GetCrc32C() != crc32.Checksum(chunk.Data, castagnoli) {
				log.Fatalf("chunk at %d where %d is next, crc32c %d", chunk.Offset, len(data), chunk.GetCrc32C())
			}
			data = append(data, chunk.Data...)
			if chunks++; chunks == chunkCount {
				return header, data, false
			}
		case *pb.GetShadowResponse_End:
			return header, data, true
		}
	}
}
