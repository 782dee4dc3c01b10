// A client in another language, from the protos and docs/protocol.md alone. Two writers push a sharded model, one loses its
// connection in the middle of a step and goes on from the byte that the service has; a reader loses its own and goes on too.
// What comes back is compared to the bit with averages that are computed here.
//
//	go run . -target 127.0.0.1:50051
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	pb "shadowkeep.dev/proto/shadowkeep/v1"
)

const (
	run       = "conformance"
	decay     = 0.9
	stepCount = 5
	cutStep   = 3
	chunkMax  = 64 << 10 // Small, so that a step has chunks enough to be cut between.
)

var layout = []*pb.Tensor{
	{Name: "embed.weight", Dtype: pb.Dtype_DTYPE_F32, Shape: []uint64{600, 700}},
	{Name: "scale", Dtype: pb.Dtype_DTYPE_F32},
	{Name: "bias", Dtype: pb.Dtype_DTYPE_F32, Shape: []uint64{3}},
	{Name: "nothing", Dtype: pb.Dtype_DTYPE_F32, Shape: []uint64{0, 7}},
	{Name: "steps", Dtype: pb.Dtype_DTYPE_I64, Shape: []uint64{2}}, // Integers are copied, not averaged.
}

var averages = []*pb.Average{
	{Name: "ema", Start: pb.Start_START_INITIAL, Schedule: &pb.Average_Constant{Constant: &pb.ConstantDecay{Decay: decay}}},
	{Name: "mean", Start: pb.Start_START_FIRST, Schedule: &pb.Average_Mean{Mean: &pb.Mean{}}},
}

// The boxes of each writer, in the order of its byte space: the rows of the matrix are shared, the rest is not.
var shares = [][]*pb.Box{
	{{Tensor: 1}, {Tensor: 0, Offset: []uint64{0, 0}, Extent: []uint64{250, 700}}},
	{{Tensor: 0, Offset: []uint64{250, 0}, Extent: []uint64{350, 700}}, {Tensor: 2}, {Tensor: 3}, {Tensor: 4}},
}

func main() {
	target := flag.String("target", "127.0.0.1:50051", "address of the service")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	service := dial(*target)

	opened, err := service.OpenRun(ctx, &pb.OpenRunRequest{
		Run: run, Tensors: layout, Averages: averages, Writers: uint32(len(shares)), Incarnation: "first life",
	})
	check(err)
	fmt.Printf("opened run %s: created %v, %d bytes a step, chunks of at most %d\n",
		opened.Run, opened.Created, opened.StepBytes, opened.Limits.ChunkBytesMax)

	cut := newProxy(*target)
	writers := []*writer{
		{number: 0, service: service, generation: opened.Generation, session: rand.Text()},
		{
			number: 1, service: dial(cut.address()), generation: opened.Generation, session: rand.Text(),
			beforeStep: cut.stallIn(cutStep),
		},
	}
	var done sync.WaitGroup
	for _, each := range writers {
		done.Add(1)
		go func() {
			defer done.Done()
			check(each.train(ctx))
		}()
	}
	waitForBytes(ctx, service, 1, cutStep, 2*chunkMax)
	cut.cut()
	done.Wait()

	compare(ctx, service)
	checkErrors(ctx, service, writers[0], opened.Generation)
	deleted, err := service.DeleteRun(ctx, &pb.DeleteRunRequest{Run: run})
	check(err)
	fmt.Printf("deleted: %d bytes are free again\nconformance: passed\n", deleted.FreedBytes)
}

// value is element i of a tensor at a step: the same in every process, as weights of a trainer are in its ranks.
func value(step, tensor, i int) float32 {
	hash := uint32(step)*2654435761 ^ uint32(tensor)*40503 ^ uint32(i)*2246822519
	hash ^= hash >> 15
	hash *= 2654435761
	hash ^= hash >> 13
	return float32(int32(hash)) / (1 << 31)
}

// expected is a tensor of an average after the last step: s += w * (p - s), each operation rounded to float32.
func expected(average string, tensor, count int) []float32 {
	shadow := make([]float32, count)
	for i := range shadow {
		shadow[i] = value(0, tensor, i)
		for step := 1; step < stepCount; step++ {
			w := float32(1 - decay)
			if average == "mean" {
				w = float32(1 / float64(step))
			}
			p := value(step, tensor, i)
			if w == 1 {
				shadow[i] = p // An assignment, never arithmetic.
				continue
			}
			// The conversions keep the compiler from fusing the multiplication with the addition.
			shadow[i] += float32(w * float32(p-shadow[i]))
		}
	}
	return shadow
}

func compare(ctx context.Context, service pb.ShadowWeightsClient) {
	for _, average := range []string{"ema", "mean"} {
		header, data := read(ctx, service, average, stepCount-1)
		compared := 0
		for index, tensor := range header.Tensors {
			place := data[tensor.Offset:]
			if !tensor.Averaged {
				for i, want := range []uint64{stepCount - 1, 7} {
					if got := little.Uint64(place[8*i:]); got != want {
						log.Fatalf("%s[%d] is %d, not %d", tensor.Name, i, got, want)
					}
				}
				continue
			}
			for i, want := range expected(average, index, count(tensor.Shape)) {
				got := math.Float32frombits(little.Uint32(place[4*i:]))
				if math.Float32bits(got) != math.Float32bits(want) {
					log.Fatalf("%s: %s[%d] is %v, not %v", average, tensor.Name, i, got, want)
				}
				compared++
			}
		}
		fmt.Printf("%s at step %d: %d values are equal to the bit\n", average, header.Step, compared)
	}
}

// checkErrors reads the details of errors: of an unknown run, of a process that would take another one's stream, and of a
// trainer that a newer one has fenced.
func checkErrors(ctx context.Context, service pb.ShadowWeightsClient, old *writer, generation uint64) {
	_, err := service.GetRun(ctx, &pb.GetRunRequest{Run: "nobody"})
	expectReason(err, "RUN_NOT_FOUND")
	stranger := &writer{number: old.number, service: service, generation: generation, session: rand.Text()}
	_, err = stranger.open(ctx, true)
	expectReason(err, "WRITER_BUSY")
	// Another life, whose checkpoint has the tensors in another order: the same model.
	reversed := slices.Clone(layout)
	slices.Reverse(reversed)
	newer, err := service.OpenRun(ctx, &pb.OpenRunRequest{
		Run: run, Tensors: reversed, Averages: averages, Writers: 1, Incarnation: "second life",
	})
	check(err)
	if newer.Generation <= generation || newer.GetCommittedStep() != stepCount-1 {
		log.Fatalf("generation %d at step %d follows generation %d", newer.Generation, newer.GetCommittedStep(), generation)
	}
	if !slices.Equal(newer.TensorOrder, []uint32{4, 3, 2, 1, 0}) {
		log.Fatalf("the order of the run's tensors is %v", newer.TensorOrder)
	}
	_, err = old.stream.Recv()
	expectReason(err, "GENERATION_FENCED")
	_, err = old.open(ctx, true)
	expectReason(err, "GENERATION_FENCED")
}

func expectReason(err error, reason string) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Reason == reason && info.Domain == "shadowkeep.dev" {
			fmt.Printf("error as it should be: %s %v\n", info.Reason, info.Metadata)
			return
		}
	}
	log.Fatalf("not an error with reason %s: %v", reason, err)
}

func dial(target string) pb.ShadowWeightsClient {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	return pb.NewShadowWeightsClient(connection)
}

func count(shape []uint64) int {
	product := 1
	for _, extent := range shape {
		product *= int(extent)
	}
	return product
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
